/** JSON lines on standard error; standard output is for data. Levels as pino names them. */
import { type Logger, pino } from 'pino';

/** `verbosity` as Kubernetes' `--v`: 0 and 1 transitions, actions and errors, 2 and 3 every request too, 4 and up every turn of the loop. */
export function createLog(verbosity: number): Logger {
  const level = verbosity >= 4 ? 'trace' : verbosity >= 2 ? 'debug' : 'info';
  // Synchronous: a line is out when the call returns, also when the next thing that happens is SIGKILL.
  const destination = pino.destination({ fd: 2, sync: true, maxLength: UNWRITTEN });
  // A log on a full disk must not keep the node down: what cannot be written is lost.
  destination.on('error', () => undefined);
  return pino({ level, base: { pid: process.pid }, timestamp: () => `,"time":"${new Date().toISOString()}"` }, destination);
}

/** What is kept of the lines that could not be written, in characters; they come when there is space again. */
const UNWRITTEN = 64 * 1024;
