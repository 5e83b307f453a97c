/** Log lines of the embedded programs: `2026-01-02T03:04:05.678Z kubelet  text`, one line each, on stderr. */
export type Log = (text: string) => void;

export function logTo(program: string, write: (line: string) => void = (line) => process.stderr.write(line)): Log {
  return (text) => write(`${new Date().toISOString()} ${program}  ${text.replaceAll('\n', ' ')}\n`);
}

/** What went wrong, for a log line: the message, or an error code where the message is empty. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  if (error.message !== '') return error.message;
  return 'code' in error ? String(error.code) : error.name;
}
