/** What can wait waits until an API server that has just come back is ready. */
import { describe, expect, it } from 'vitest';
import type { Answer } from '../../src/sources/api/answer.ts';
import { unreachable } from '../../src/sources/api/answer.ts';
import { createReadiness } from '../../src/sources/api/readiness.ts';

const notReady = unreachable('status', 'HTTP 500 for /readyz');
const denied: Answer<undefined> = { kind: 'denied', status: 403, detail: 'HTTP 403 for /readyz' };

/** Answers one after the other, the last one again and again. */
function server(...answers: readonly Answer<undefined>[]) {
  const asked: string[] = [];
  return {
    asked,
    probe: (path: string) => {
      asked.push(path);
      return Promise.resolve(answers[Math.min(asked.length, answers.length) - 1] ?? notReady);
    },
  };
}

describe('the readiness of an API server', () => {
  it('is asked for until it is there', async () => {
    const one = server(denied, notReady, { kind: 'ok', body: undefined });
    await createReadiness(one, new AbortController().signal).wait();
    expect(one.asked).toEqual(['/readyz', '/readyz', '/readyz']);
  });

  it('is not waited for where nothing knows the question', async () => {
    const one = server({ kind: 'status', status: 404, reason: 'NotFound', detail: 'HTTP 404 for /readyz' });
    await createReadiness(one, new AbortController().signal).wait();
    expect(one.asked).toHaveLength(1);
  });

  it('is asked for once for all who wait, and anew for those who come later', async () => {
    const one = server(notReady, { kind: 'ok', body: undefined });
    const readiness = createReadiness(one, new AbortController().signal);
    await Promise.all([readiness.wait(), readiness.wait()]);
    expect(one.asked).toHaveLength(2);
    await readiness.wait();
    expect(one.asked).toHaveLength(3);
  });

  it('is given up after a while, and at the end', async () => {
    let now = 0;
    const readiness = createReadiness(server(notReady), new AbortController().signal, () => (now += 3_000));
    await readiness.wait();
    const ending = new AbortController();
    const waits = createReadiness(server(notReady), ending.signal).wait();
    ending.abort();
    await waits;
  });
});
