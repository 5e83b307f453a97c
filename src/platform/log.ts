/** JSON lines on standard error; standard output is for data. Levels as pino names them. */
import { type Logger, pino } from 'pino';

/** `verbosity` as Kubernetes' `--v`: 0 and 1 transitions and errors, 2 and up every request and action. */
export function createLog(verbosity: number): Logger {
  const level = verbosity >= 2 ? 'debug' : 'info';
  // Synchronous: a line is out when the call returns, also when the next thing that happens is SIGKILL.
  return pino(
    { level, base: { pid: process.pid }, timestamp: () => `,"time":"${new Date().toISOString()}"` },
    pino.destination({ fd: 2, sync: true }),
  );
}
