/** Asks at the terminal. Without one a command must be told beforehand. */
import { InputError } from './input-error.ts';

/** Throws InputError where there is nobody to ask. */
export async function confirmed(question = 'Do this?'): Promise<boolean> {
  if (!process.stdin.isTTY) throw new InputError('there is no terminal to ask at: give --yes, or --dry-run to look only');
  const { createInterface } = await import('node:readline/promises');
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test((await terminal.question(`${question} [y/N] `)).trim());
  } finally {
    terminal.close();
  }
}
