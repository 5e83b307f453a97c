/** For `describe.skipIf`: says on stderr, past the test runner's capture, which tests do not run and what to install. */
export function skipLoudly(tests: string, missing: string | undefined): boolean {
  if (missing === undefined) return false;
  process.stderr.write(`\nSKIPPED: ${tests}: ${missing}\n`);
  return true;
}
