import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 30_000,
    hookTimeout: 60_000,
    maxWorkers: 2,
    // Processes, disks and power cuts on a machine that others use, too: a second try, which the closing lines name.
    retry: 1,
    reporters: ['default', './test/support/closing-line.ts'],
  },
});
