import { defineConfig } from 'vitest/config';

/** One file after the other: a node takes what the machine has. */
export default defineConfig({
  test: {
    root: `${import.meta.dirname}/../..`,
    include: ['test/e2e/**/*.e2e.ts'],
    testTimeout: 600_000,
    hookTimeout: 900_000,
    fileParallelism: false,
    reporters: ['default', './test/support/closing-line.ts'],
  },
});
