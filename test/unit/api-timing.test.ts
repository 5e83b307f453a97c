import { describe, expect, test } from 'vitest';
import { classify, classifyError, unreachable } from '../../src/sources/api/answer.ts';
import { countFailure, type Failure, NO_FAILURES, retryDelay, TIMING, watchSeconds } from '../../src/sources/api/timing.ts';

const forbidden: Failure = { kind: 'denied', status: 403, detail: '' };

describe('the delay before another attempt', () => {
  test('is 250 ms for two minutes of refused connections, then a second', () => {
    const delays = [1, 10, 480, 481, 10_000].map((count) => retryDelay(unreachable('refused', ''), count, TIMING, 0.9));
    expect(delays).toEqual([250, 250, 250, 1_000, 1_000]);
  });

  test('is what Retry-After says, but at most a minute', () => {
    expect(retryDelay(unreachable('status', '', 3_000), 1, TIMING, 0)).toBe(3_000);
    expect(retryDelay(unreachable('status', '', 86_400_000), 1, TIMING, 0)).toBe(60_000);
  });

  test.each([unreachable('timeout', ''), unreachable('status', ''), forbidden])('doubles up to 5 s otherwise', (failure) => {
    expect([1, 2, 3, 4, 5, 6, 100].map((count) => retryDelay(failure, count, TIMING, 1))).toEqual([250, 500, 1000, 2000, 4000, 5000, 5000]);
    expect(retryDelay(failure, 100, TIMING, 0)).toBe(2500);
  });

  test('starts anew with another sort of failure', () => {
    let failures = NO_FAILURES;
    for (let i = 0; i < 3; i += 1) failures = countFailure(failures, unreachable('timeout', ''));
    expect(failures.count).toBe(3);
    expect(countFailure(failures, forbidden).count).toBe(1);
  });
});

test('a watch is asked for between five and ten minutes', () => {
  expect([0, 0.5, 1].map((random) => watchSeconds(TIMING, random))).toEqual([300, 450, 600]);
  expect(watchSeconds({ ...TIMING, watchFrom: 1, watchTo: 2 }, 0)).toBe(1);
});

describe('an answer', () => {
  test.each([
    [301, 'unreachable'],
    [400, 'status'],
    [401, 'denied'],
    [403, 'denied'],
    [404, 'status'],
    [410, 'status'],
    [429, 'unreachable'],
    [500, 'unreachable'],
    [504, 'unreachable'],
  ])('of HTTP %i is %s', (status, kind) => {
    expect(classify(status, '/api', undefined, undefined)).toMatchObject({ kind, detail: `HTTP ${status} for /api` });
  });

  test('carries the words of a Status in one line, and Retry-After in milliseconds', () => {
    const status = { kind: 'Status', reason: 'TooManyRequests', message: 'too\nmany' };
    expect(classify(429, '/api', status, '2')).toEqual(unreachable('status', 'HTTP 429 for /api: too many', 2_000));
    expect(classify(429, '/api', { message: 'not a Status' }, 'Wed, 21 Oct 2015 07:28:00 GMT')).toEqual(
      unreachable('status', 'HTTP 429 for /api'),
    );
  });

  test.each([
    ['ECONNREFUSED', 'refused'],
    ['ETIMEDOUT', 'timeout'],
    ['ECONNRESET', 'connection'],
    ['ENOTFOUND', 'connection'],
    ['EHOSTUNREACH', 'connection'],
    ['CERT_HAS_EXPIRED', 'tls'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'tls'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'tls'],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'tls'],
  ])('that never came because of %s is unreachable by cause %s', (code, cause) => {
    const error = Object.assign(new Error('text'), { code });
    expect(classifyError(error, 'https://a:6443', '/ca.crt')).toMatchObject({ cause, detail: expect.stringContaining('https://a:6443') });
  });
});
