import { spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';

const LOG = pathToFileURL(new URL('../../src/platform/log.ts', import.meta.url).pathname).href;

test('a log that cannot be written, its disk being full, neither ends the process nor fills its memory', async () => {
  const script = `
    import { createLog } from ${JSON.stringify(LOG)};
    const log = createLog(0);
    const before = process.memoryUsage().rss;
    for (let line = 0; line < 20_000; line++) log.info({ line, detail: 'x'.repeat(2_000) }, 'said');
    await new Promise((resolve) => setImmediate(resolve));
    console.log(JSON.stringify({ grownMiB: Math.round((process.memoryUsage().rss - before) / 2 ** 20) }));
  `;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['ignore', 'pipe', openSync('/dev/full', 'w')] });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [out, code] = await Promise.all([child.stdout === null ? '' : text(child.stdout), ended]);
  expect(code).toBe(0);
  // All lines together are 40 MiB.
  expect(JSON.parse(out).grownMiB).toBeLessThan(30);
});
