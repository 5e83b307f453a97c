/**
 * Ends a test run with one line that counts its tests: `Tests: 470 passed, 0 failed, 3 skipped`. A file that could not even be loaded counts as a failed
 * test. What passed only at a second try is named above it: it is a test that a busy machine can fail, and no reason to trust it less than to mend it.
 */
import type { Reporter, TestModule } from 'vitest/node';

export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const tests = modules.flatMap((module) => [...module.children.allTests()]);
    const count = (state: string) => tests.filter((test) => test.result().state === state).length;
    const broken = modules.filter((module) => module.state() === 'failed' && [...module.children.allTests('failed')].length === 0).length;
    for (const test of tests) if (test.diagnostic()?.flaky === true) process.stdout.write(`\nPassed at a second try: ${test.fullName}`);
    process.stdout.write(
      `\nTests: ${count('passed')} passed, ${count('failed') + broken + unhandled.length} failed, ${count('skipped')} skipped\n`,
    );
  }
}
