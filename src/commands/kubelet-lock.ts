/** `checkpointer kubelet-lock status|wait|contend`: the kubelet's own --lock-file. Only `contend` opens it. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { type KubeletLock, type LockHolder, readKubeletLock, watchKubeletLock } from '../lock/kubelet.ts';
import { DEFAULT_KUBELET_LOCK_FILE, kubeletLockFileFlag, timerFlag } from './host-options.ts';
import { durationFlag, flag } from './options.ts';

/** As an init script's `status`: 0 running, 3 not running, 4 unknown (Linux Standard Base). */
const EXIT = { held: 0, free: 3, unknown: 4 } as const;
/** As timeout(1). */
const EXIT_TIMEOUT = 124;
/** As a shell says of a program that a signal ended. */
const EXIT_SIGNAL = { SIGTERM: 143, SIGINT: 130 } as const;
const HOUR_MS = 3_600_000;
const POLL_MS = 100;

interface LockOptions {
  readonly kubeletLockFile: string;
  readonly samePidNamespace?: boolean;
}

export function kubeletLockCommand(): Command {
  return new Command('kubelet-lock')
    .description("The state of the kubelet's own --lock-file, and how to take it.")
    .addCommand(statusCommand())
    .addCommand(waitCommand())
    .addCommand(contendCommand());
}

export const samePidNamespaceFlag = (): Option =>
  flag(
    '--same-pid-namespace',
    "the kubelet runs in this PID namespace although it is not the machine's first one, as where the node is a container itself",
  );

function lockFlags(command: Command): Command {
  return command.addOption(kubeletLockFileFlag().default(DEFAULT_KUBELET_LOCK_FILE)).addOption(samePidNamespaceFlag());
}

function statusCommand(): Command {
  return lockFlags(new Command('status'))
    .description('Show who holds the lock and who waits for it, without opening the file.')
    .addOption(flag('-o, --output <format>', 'how to print it').choices(['text', 'json']).default('text'))
    .addHelpText(
      'after',
      '\nExit codes: 0 held, 3 free, 4 cannot be told, 2 bad input.\n\nInside a container holders on the host are only seen with hostPID: true.',
    )
    .action(async ({ kubeletLockFile: path, samePidNamespace = false, output }: LockOptions & { output: 'text' | 'json' }) => {
      const lock = await readKubeletLock({ path, samePidNamespace });
      process.stdout.write(output === 'json' ? `${asJson(path, lock)}\n` : text(path, lock));
      process.exitCode = EXIT[lock.state];
    });
}

function waitCommand(): Command {
  return lockFlags(new Command('wait'))
    .description('Wait until the lock is free, or held, without opening the file.')
    .addOption(new Option('--for <state>', 'what to wait for').choices(['free', 'held']).default('free'))
    .addOption(durationFlag('--timeout <duration>', 'how long; 0 waits for ever', '0'))
    .addHelpText('after', '\nExit codes: 0 it is so, 124 not within the timeout, 4 cannot be told, 2 bad input.')
    .action(
      async ({
        kubeletLockFile: path,
        samePidNamespace = false,
        for: wanted,
        timeout,
      }: LockOptions & { for: 'free' | 'held'; timeout: number }) => {
        const look = watchKubeletLock({ path, samePidNamespace });
        const deadline = timeout === 0 ? Number.POSITIVE_INFINITY : performance.now() + timeout;
        for (;;) {
          const lock = await look();
          if (lock.state === wanted) {
            process.stdout.write(text(path, lock));
            return;
          }
          if (lock.state === 'unknown') {
            process.stderr.write(text(path, lock));
            process.exitCode = EXIT.unknown;
            return;
          }
          const left = deadline - performance.now();
          if (left <= 0) {
            process.stderr.write(`${text(path, lock).trimEnd()}, still not ${wanted}\n`);
            process.exitCode = EXIT_TIMEOUT;
            return;
          }
          await sleep(Math.min(POLL_MS, left));
        }
      },
    );
}

function contendCommand(): Command {
  return new Command('contend')
    .description('Open and take the lock: a kubelet with --exit-on-lock-contention exits. Hold it, and give it up again.')
    .addOption(kubeletLockFileFlag().default(DEFAULT_KUBELET_LOCK_FILE))
    .addOption(timerFlag('--hold <duration>', 'how long; 0 until a signal', '0'))
    .addOption(timerFlag('--timeout <duration>', 'how long to wait for the lock; 0 for ever', '30s'))
    .addHelpText(
      'after',
      `
A kubelet without --exit-on-lock-contention keeps its lock, and this waits. One that left by contention ended with status 0, so that
systemd's Restart=on-failure does not bring it back; kubelet-guard does.

SIGTERM and SIGINT end it at once, and the lock is given up.

Exit codes: 0 held and given up, after --hold or by a signal; 124 not had within the timeout; 143 (SIGTERM) and 130 (SIGINT) while
it was still waiting, so the lock was never had; 1 failure; 2 bad input.`,
    )
    .action(contend);
}

async function contend({
  kubeletLockFile: path,
  hold,
  timeout,
}: {
  kubeletLockFile: string;
  hold: number;
  timeout: number;
}): Promise<void> {
  const { acquireLeaderLock } = await import('../lock/leader.ts');
  const ended = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, () => ended.abort(name));
  const late = new AbortController();
  const timer = timeout === 0 ? undefined : setTimeout(() => late.abort(), timeout);
  try {
    const lock = await acquireLeaderLock({
      path,
      signal: AbortSignal.any([ended.signal, late.signal]),
      onWaiting: () => process.stderr.write(`${path} is held: waiting for its holder to leave\n`),
    });
    clearTimeout(timer);
    process.stdout.write(`holding ${path}\n`);
    await held(hold, ended.signal);
    lock.release();
    process.stdout.write(`gave up ${path}\n`);
  } catch (error) {
    if (ended.signal.aborted) {
      process.stderr.write(`ended by ${ended.signal.reason} while waiting: ${path} was never held\n`);
      process.exitCode = ended.signal.reason === 'SIGINT' ? EXIT_SIGNAL.SIGINT : EXIT_SIGNAL.SIGTERM;
    } else if (late.signal.aborted) {
      process.stderr.write(`${path} is still held after ${timeout} ms\n`);
      process.exitCode = EXIT_TIMEOUT;
    } else throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** For so many milliseconds, 0 for ever, or until the signal is aborted. */
async function held(ms: number, signal: AbortSignal): Promise<void> {
  do {
    await sleep(ms === 0 ? HOUR_MS : ms, undefined, { signal }).catch(() => undefined);
  } while (ms === 0 && !signal.aborted);
}

function asJson(path: string, lock: KubeletLock): string {
  if (lock.state !== 'held') return JSON.stringify({ version: 1, path, ...lock });
  const { state, holder, waiters } = lock;
  return JSON.stringify({ version: 1, path, state, holder, waiters });
}

function text(path: string, lock: KubeletLock): string {
  switch (lock.state) {
    case 'free':
      return lock.missing ? `free: there is no ${path}\n` : `free: nobody holds ${path}\n`;
    case 'unknown':
      return `unknown: ${lock.detail}\n`;
    case 'held': {
      const waiting = lock.waiters.map((waiter) => `  waiting: ${named(waiter)}\n`);
      return `held: ${path} by ${named(lock.holder)}\n${waiting.join('')}`;
    }
  }
}

function named({ pid, command }: LockHolder): string {
  return command === undefined
    ? `pid ${pid}, which has ended`
    : `pid ${pid} (${command.length > 160 ? `${command.slice(0, 160)}…` : command})`;
}
