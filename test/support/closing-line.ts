/** Ends a test run with one line that counts its tests: `Tests: 470 passed, 0 failed, 3 skipped`. A file that could not even be loaded counts as a failed test. */
import type { Reporter, TestModule } from 'vitest/node';

export default class ClosingLine implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly unknown[]): void {
    const states = modules.flatMap((module) => [...module.children.allTests()].map((test) => test.result().state));
    const count = (state: string) => states.filter((one) => one === state).length;
    const broken = modules.filter((module) => module.state() === 'failed' && [...module.children.allTests('failed')].length === 0).length;
    process.stdout.write(
      `\nTests: ${count('passed')} passed, ${count('failed') + broken + unhandled.length} failed, ${count('skipped')} skipped\n`,
    );
  }
}
