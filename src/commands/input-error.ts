/** Bad input: one clear line on standard error, exit code 2, nothing changed. */
export class InputError extends Error {
  override readonly name = 'InputError';
}
