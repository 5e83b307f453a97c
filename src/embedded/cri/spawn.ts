/** Starts the processes of sandboxes and containers: each in a session and process group of its own, so that it outlives the runtime. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { NODE_MARK, type ProcessRef, refOf } from '../node/processes.ts';

export interface Started {
  readonly process: ProcessRef;
  readonly child: ChildProcess;
}

/**
 * The shim of a container, as containerd has one: it waits for the container's process and writes down its exit code, so that a runtime that was
 * restarted meanwhile learns it. It catches SIGTERM, which goes to the whole group, to be still there afterwards; a caught signal is reset to its
 * default in the child. A constant text: the file and the command line come as arguments.
 */
const SHIM = 'trap : TERM INT HUP; exit_file=$1; shift; "$@"; code=$?; echo "$code" >"$exit_file"; exit "$code"';

/** @throws when the process could not be started. */
export async function startContainerProcess(container: {
  readonly commandLine: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly workingDir: string;
  readonly logPath: string;
  readonly exitFile: string;
}): Promise<Started> {
  let log: number | 'ignore' = 'ignore';
  if (container.logPath !== '') {
    mkdirSync(dirname(container.logPath), { recursive: true });
    log = openSync(container.logPath, 'a');
  }
  try {
    const child = spawn('/bin/sh', ['-c', SHIM, 'shim', container.exitFile, ...container.commandLine], {
      cwd: container.workingDir,
      env: { ...baseEnvironment(), ...container.env, ...mark() },
      stdio: ['ignore', log, log],
      detached: true,
    });
    return await started(child);
  } finally {
    if (log !== 'ignore') closeSync(log);
  }
}

/** The process that stands for a sandbox, what the pause container is elsewhere. */
export async function startSandboxProcess(): Promise<Started> {
  return started(spawn('sleep', ['infinity'], { env: { ...baseEnvironment(), ...mark() }, stdio: 'ignore', detached: true }));
}

async function started(child: ChildProcess): Promise<Started> {
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve);
    child.once('error', reject);
  });
  child.unref();
  const process = child.pid === undefined ? undefined : refOf(child.pid);
  // Ended before it was looked at: it is a zombie until its exit is read, so its stat is there.
  if (process === undefined) throw new Error(`process ${child.pid ?? ''} is gone as soon as it was started`);
  return { process, child };
}

function baseEnvironment(): Record<string, string> {
  return { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin', HOME: '/root' };
}

function mark(): Record<string, string> {
  const id = process.env[NODE_MARK];
  return id === undefined ? {} : { [NODE_MARK]: id };
}
