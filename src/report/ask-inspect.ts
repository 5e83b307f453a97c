/**
 * Asks `checkpointer inspect` of this very program, as a process of its own: it verifies every byte of every copy, and neither its memory nor what it reads at
 * a stretch belongs into the daemon. Nothing waits for it. One that fails, hangs or prints something else is not known, and what was known stays.
 */
import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { constants, setPriority } from 'node:os';
import { isSea } from 'node:sea';
import type { Logger } from 'pino';
import type { Millis } from '../checkpoint/model.ts';
import type { Status } from '../status.ts';
import { type Asking, asked, isTimeToAsk, noticed, type Outlook, outlookOf, rebootGets } from './outlook.ts';

export interface Inspector {
  /** Asks if it is time to, beside the caller. Called at each turn of the loop; what was heard last is the answer. */
  outlook(status: Status): Outlook | undefined;
}

export interface InspectorOptions {
  /** Program and arguments of the whole command. */
  readonly command: readonly string[];
  readonly timeoutMs?: Millis;
  /** An answer came. */
  readonly onAnswer: () => void;
  readonly log: Logger;
  /** Ends the process that is asked. */
  readonly signal: AbortSignal;
  /** Monotonic milliseconds. */
  readonly clock: () => Millis;
}

const DEADLINE: Millis = 30_000;
/** 50 workloads with three generations are 100 KiB. */
const OUTPUT_LIMIT = 4 * 1024 * 1024;
/** Of the process's own: 0 everything recovers, 3 something does not or there is a warning. */
const ANSWERS: readonly (number | null)[] = [0, 3];

export function createInspector({ command, timeoutMs = DEADLINE, onAnswer, log, signal, clock }: InspectorOptions): Inspector {
  let asking: Asking | undefined;
  let known: Outlook | undefined;
  let running = false;
  let said: string | undefined;

  async function ask(): Promise<void> {
    try {
      const outlook = outlookOf(await outputOf(command, timeoutMs, signal));
      if (outlook === undefined) throw new Error('what it printed is not a document of inspect');
      said = undefined;
      known = outlook;
      onAnswer();
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (message !== said && !signal.aborted) log.warn({ error: message }, 'inspect gave no answer: what is known of a power cut stays');
      said = message;
    }
  }

  return {
    outlook(status) {
      asking = noticed(asking, rebootGets(status), clock());
      if (!running && !signal.aborted && isTimeToAsk(asking, known, clock())) {
        asking = asked(asking, clock());
        // Until it is really gone: one that hangs in the kernel survives its SIGKILL, and a second one would hang beside it.
        running = true;
        void ask().finally(() => {
          running = false;
        });
      }
      return known;
    },
  };
}

/** How this process was started: a single executable is its own script. */
export function ownProgram(): readonly string[] {
  return isSea() ? [process.execPath] : [process.execPath, ...process.execArgv, process.argv[1] ?? ''];
}

export interface InspectedPlaces {
  readonly checkpointDir: string;
  readonly podManifestPath: string;
  readonly lockFile: string;
  readonly kubeletLockFile?: string;
  readonly kubeconfig: string;
  readonly containerRuntimeEndpoint: string;
  /** Milliseconds. */
  readonly runtimeRequestTimeout: Millis;
  readonly bootIdFile: string;
  readonly self?: string;
}

/** The daemon's own places. What it has no flag for (--warn-before, --kubelet-config, --host-root) comes from the environment, which is the daemon's. */
export function inspectArguments(places: InspectedPlaces): readonly string[] {
  const { kubeletLockFile, self } = places;
  return [
    'inspect',
    '--output=json',
    // Whether the API server answers is no part of the verdict, and the daemon knows it.
    '--probe-timeout=0',
    `--checkpoint-dir=${places.checkpointDir}`,
    `--pod-manifest-path=${places.podManifestPath}`,
    `--lock-file=${places.lockFile}`,
    `--kubeconfig=${places.kubeconfig}`,
    `--container-runtime-endpoint=${places.containerRuntimeEndpoint}`,
    `--runtime-request-timeout=${places.runtimeRequestTimeout}ms`,
    `--boot-id-file=${places.bootIdFile}`,
    ...(kubeletLockFile === undefined ? [] : [`--kubelet-lock-file=${kubeletLockFile}`]),
    ...(self === undefined ? [] : [`--self=${self}`]),
  ];
}

function outputOf([program = '', ...args]: readonly string[], timeoutMs: Millis, signal: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], signal, timeout: timeoutMs, killSignal: 'SIGKILL' });
    standBack(child.pid);
    const stdout: Buffer[] = [];
    let size = 0;
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size > OUTPUT_LIMIT) child.kill('SIGKILL');
      else stdout.push(chunk);
    });
    child.stderr.on('data', (chunk: Buffer) => {
      if (stderr.length < 1024) stderr += chunk.toString('utf8');
    });
    child.on('error', (error) => {
      // One that could not be killed still runs.
      if (child.pid === undefined) reject(error);
    });
    child.on('close', (code, killedBy) => {
      if (size > OUTPUT_LIMIT) reject(new Error(`it printed more than ${OUTPUT_LIMIT} bytes`));
      else if (ANSWERS.includes(code)) resolve(Buffer.concat(stdout).toString('utf8'));
      else reject(new Error(`it ended with ${killedBy ?? `exit code ${code}`}: ${(stderr.trim().split('\n')[0] ?? '').slice(0, 200)}`));
    });
  });
}

/** Last in the queue for a processor, and the first to go where memory ends. Neither is worth a failure: a unit may forbid it. */
function standBack(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    setPriority(pid, constants.priority.PRIORITY_LOW);
  } catch {
    // EPERM under a filter of system calls; ESRCH where it has ended.
  }
  void writeFile(`/proc/${pid}/oom_score_adj`, '1000').catch(() => undefined);
}
