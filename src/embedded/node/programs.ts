/** Programs of an embedded node as processes: marked as the node's, their words kept in a file and told line by line. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { NODE_MARK } from './processes.ts';

export interface NodeProgram {
  readonly name: string;
  readonly pid: number | undefined;
  /** Exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals>;
  /** Sends the signal and waits for the end. */
  end(signal: NodeJS.Signals): Promise<number | NodeJS.Signals>;
}

/** `command` is a file and its arguments. The program's standard input is the power line: it closes with this process. */
export function startProgram(options: {
  readonly name: string;
  readonly command: readonly string[];
  readonly nodeId: string;
  readonly logDir: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly onLine: (line: string) => void;
}): NodeProgram {
  const [file = '', ...args] = options.command;
  const child: ChildProcess = spawn(file, args, {
    env: { ...process.env, ...options.env, [NODE_MARK]: options.nodeId },
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  const log = createWriteStream(join(options.logDir, `${options.name}.log`), { flags: 'a' });
  // A program that is killed takes its end of the pipe with it.
  child.stdin?.on('error', () => {});
  if (child.stderr !== null) {
    createInterface({ input: child.stderr }).on('line', (line) => {
      log.write(`${line}\n`);
      options.onLine(line);
    });
  }
  const ended = new Promise<number | NodeJS.Signals>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      log.end();
      resolve(code ?? signal ?? 'SIGKILL');
    });
  });
  ended.catch(() => {});
  return {
    name: options.name,
    pid: child.pid,
    ended,
    end: (signal) => {
      child.kill(signal);
      return ended;
    },
  };
}
