/** `checkpointer kubelet-guard`: the init system's side of a self-hosted kubelet. Never opens the lock file. */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { Command } from 'commander';
import { type KubeletLock, watchKubeletLock } from '../lock/kubelet.ts';
import { DEFAULT_KUBELET_LOCK_FILE, kubeletLockFileFlag } from './host-options.ts';
import { samePidNamespaceFlag } from './kubelet-lock.ts';
import { durationFlag } from './options.ts';

interface GuardOptions {
  readonly kubeletLockFile: string;
  readonly samePidNamespace?: boolean;
  readonly freeFor: number;
  readonly startTimeout: number;
}

const DEFAULT_START = ['systemctl', 'start', 'kubelet'];
const POLL_MS = 250;
/** A command that does not bring a kubelet is not repeated at once. */
const BACKOFF = { first: 1, limit: 16 } as const;

export function kubeletGuardCommand(): Command {
  return new Command('kubelet-guard')
    .description('Start the kubelet of the host when no kubelet has held the lock for a while. Runs until it is ended.')
    .argument('[command...]', `what starts it (default: ${DEFAULT_START.join(' ')})`)
    .addOption(kubeletLockFileFlag().default(DEFAULT_KUBELET_LOCK_FILE))
    .addOption(samePidNamespaceFlag())
    .addOption(durationFlag('--free-for <duration>', 'how long the lock has to have been free without a break', '10s'))
    .addOption(durationFlag('--start-timeout <duration>', 'how long a started kubelet has to take the lock', '30s'))
    .addHelpText(
      'after',
      `
A kubelet that leaves because another one contends for its lock ends with status 0, so Restart=on-failure does not bring it back when
that other one, a pod, is gone. This does.

Exit codes: 0 ended by SIGTERM or SIGINT, 1 failure, 2 bad input.

Examples:
  checkpointer kubelet-guard --free-for=20s
  checkpointer kubelet-guard -- systemctl start k8s-kubelet.service`,
    )
    .action(guard);
}

async function guard(given: readonly string[], options: GuardOptions): Promise<void> {
  const { kubeletLockFile: path, samePidNamespace = false, freeFor, startTimeout } = options;
  const { createLog } = await import('../platform/log.ts');
  const log = createLog(0);
  const ended = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => ended.abort());
  const pause = (ms: number) => sleep(ms, undefined, { signal: ended.signal }).catch(() => undefined);
  const look = watchKubeletLock({ path, samePidNamespace });
  const command = given.length === 0 ? DEFAULT_START : given;

  let shown: string | undefined;
  let freeSince: number | undefined;
  let factor: number = BACKOFF.first;
  log.info({ lockFile: path, freeForMs: freeFor, command }, 'guarding');
  while (!ended.signal.aborted) {
    const lock = await look();
    const now = performance.now();
    const state = describe(lock);
    if (state !== shown) log.info({ lockFile: path, from: shown, to: state }, 'kubelet lock');
    shown = state;
    // What cannot be seen may be held: a second kubelet would throw out the first.
    freeSince = lock.state === 'free' ? (freeSince ?? now) : undefined;
    if (lock.state === 'held') factor = BACKOFF.first;
    if (freeSince === undefined || now < freeSince + freeFor * factor) {
      await pause(Math.min(POLL_MS, Math.max(10, freeFor / 4)));
      continue;
    }
    log.info({ command, freeForMs: Math.round(now - freeSince) }, 'no kubelet holds the lock: starting one');
    const failure = await start(command, { look, startTimeout, signal: ended.signal });
    if (ended.signal.aborted) break;
    if (failure === undefined) log.info('a kubelet holds the lock');
    else log.error({ command, error: failure }, 'the kubelet could not be started');
    freeSince = undefined;
    factor = Math.min(factor * 2, BACKOFF.limit);
  }
  log.info('ended');
}

function describe(lock: KubeletLock): string {
  if (lock.state === 'held') return `held by pid ${lock.holder.pid}`;
  return lock.state === 'free' ? 'free' : `unknown: ${lock.detail}`;
}

/**
 * Runs the command until a kubelet holds the lock; then undefined, otherwise what went wrong. The command may end (systemctl) or be the kubelet itself,
 * and it is left alone when the guard ends: what it started is not ours to end.
 */
async function start(
  [program = '', ...args]: readonly string[],
  {
    look,
    startTimeout,
    signal,
  }: { readonly look: () => Promise<KubeletLock>; readonly startTimeout: number; readonly signal: AbortSignal },
): Promise<string | undefined> {
  const child = spawn(program, args, { stdio: ['ignore', 2, 2], detached: true });
  child.unref();
  let failure: string | undefined;
  child.once('error', (error) => {
    failure = error.message;
  });
  child.once('exit', (code, endedBy) => {
    if (code !== 0) failure = `${program} ended with ${code ?? endedBy}`;
  });
  const deadline = performance.now() + startTimeout;
  while (!signal.aborted) {
    if ((await look()).state === 'held') return undefined;
    if (failure !== undefined) return failure;
    if (performance.now() >= deadline) return `no kubelet took the lock within ${startTimeout} ms`;
    await sleep(POLL_MS, undefined, { signal }).catch(() => undefined);
  }
  return 'ended';
}
