/** Runs one change of a store in a process of its own under strace: recorded, killed at a system call, or with one that fails. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { build } from 'esbuild';
import { findProgram } from '../packages.ts';
import type { StepName } from './steps.ts';

/** Everything by which a change can reach the disk. Opening is among them because it creates files, statfs because it decides whether a save begins. */
export const STATE_CHANGING = [
  'openat',
  'mkdir',
  'pwrite64',
  'ftruncate',
  'fchown',
  'fchmod',
  'chmod',
  'fsync',
  'fdatasync',
  'rename',
  'renameat',
  'renameat2',
  'unlink',
  'unlinkat',
  'rmdir',
  'link',
  'symlink',
  'utimensat',
  'statfs',
] as const;

export type Errno = 'ENOSPC' | 'EIO' | 'EROFS' | 'EMFILE' | 'EACCES' | 'EDQUOT' | 'EUCLEAN' | 'EBADMSG' | 'ENODATA';

/** A fault at the n-th call, from 1, of one system call: strace counts each by itself. */
export type Fault =
  | { readonly kind: 'none' }
  | { readonly kind: 'kill'; readonly call: string; readonly at: number }
  | { readonly kind: 'error'; readonly errno: Errno; readonly call: string; readonly at: number };

export type Outcome =
  | { readonly kind: 'killed' }
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly failure: string; readonly message: string };

export interface Traced {
  readonly outcome: Outcome;
  /** The fault happened; false when the change has fewer system calls than that. */
  readonly injected: boolean;
  readonly trace: string;
}

/** One file that starts in a few milliseconds. */
export async function bundleOneStep(dir: string): Promise<string> {
  const outfile = join(dir, 'one-step.cjs');
  await build({
    entryPoints: [join(import.meta.dirname, 'one-step.ts')],
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    outfile,
    logLevel: 'error',
  });
  return outfile;
}

export async function traced(program: string, store: string, step: StepName, fault: Fault, traceFile: string): Promise<Traced> {
  // One thread does all file system calls, one after the other, so the n-th is the same in every run.
  const child = spawn(process.execPath, [program, store, step], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, UV_THREADPOOL_SIZE: '1' },
  });
  const lines: string[] = [];
  const output = createInterface({ input: child.stdout });
  output.on('line', (line) => lines.push(line));
  const ended = once(child, 'close');
  await once(output, 'line');
  const strace = await attach(child, fault, traceFile);
  child.stdin.end('go\n');
  await ended;
  await strace.ended;
  const trace = await readFile(traceFile, 'utf8');
  return { outcome: outcomeOf(lines.at(-1) ?? ''), injected: child.signalCode === 'SIGKILL' || trace.includes('(INJECTED)'), trace };
}

function outcomeOf(line: string): Outcome {
  if (line === 'done') return { kind: 'done' };
  const [, failure, message] = /^failed (\S+) (.*)$/.exec(line) ?? [];
  return failure === undefined ? { kind: 'killed' } : { kind: 'failed', failure, message: message ?? '' };
}

async function attach(child: ChildProcess, fault: Fault, traceFile: string): Promise<{ readonly ended: Promise<unknown> }> {
  const what = fault.kind === 'error' ? `error=${fault.errno}` : 'signal=KILL';
  const faults = fault.kind === 'none' ? [] : ['-e', `inject=${fault.call}:${what}:when=${fault.at}`];
  const strace = spawn(
    findProgram('strace') ?? 'strace',
    ['-f', '-y', '-s', '64', '-o', traceFile, '-e', `trace=${STATE_CHANGING.join(',')}`, ...faults, '-p', String(child.pid)],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const ended = once(strace, 'close');
  let said = '';
  await new Promise<void>((resolve, reject) => {
    strace.stderr.on('data', (data: Buffer) => {
      said += data.toString();
      if (said.includes('attached')) resolve();
    });
    void ended.then(() => reject(new Error(`strace did not attach: ${said}`)));
  });
  return { ended };
}
