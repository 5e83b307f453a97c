import type { ServerResponse } from 'node:http';
import { expect, onTestFinished, test } from 'vitest';
import type { Token, TokenRef } from '../../src/checkpoint/copy-types.ts';
import { objectKey } from '../../src/checkpoint/references.ts';
import { createTokens, type TokensOptions } from '../../src/sources/api/tokens.ts';
import { connect, QUICK, recordLog, startServer } from '../support/api/setup.ts';
import { until } from '../support/until.ts';

/** Answers that no API server should give, clocks that jump: asked for is what is needed, and not again and again. */
const HOUR = 3_600_000;
const refOf = (uid: string): TokenRef => ({
  kind: 'Token',
  namespace: 'kube-system',
  name: 'sa',
  audience: '',
  expirationSeconds: 3600,
  pod: { name: 'proxy-a', uid },
});
const granted = (token: string, expirationSeconds: unknown = 3600) => ({
  spec: { expirationSeconds },
  status: { token, expirationTimestamp: new Date(Date.now() + HOUR).toISOString() },
});

async function start(answer: (request: number) => unknown, options: Partial<TokensOptions> = {}) {
  const server = await startServer();
  const asked: number[] = [];
  server.hook = (_, response: ServerResponse) => {
    asked.push(performance.now());
    response.writeHead(201, { 'content-type': 'application/json' }).end(JSON.stringify(answer(asked.length)));
    return true;
  };
  const { log, lines } = recordLog();
  const tokens = createTokens({
    client: await connect(server.url),
    onChange: () => undefined,
    gate: async () => false,
    timing: { ...QUICK, firstDelay: 50 },
    random: () => 0.5,
    wallClock: Date.now,
    now: () => performance.now(),
    known: new Map(),
    log,
    ...options,
  });
  onTestFinished(() => tokens.stop());
  const token = (ref: TokenRef) => {
    const state = tokens.state(ref);
    return state?.state === 'present' ? state.object.token : undefined;
  };
  return { tokens, asked, lines, token };
}

test.each([0, -3600, 'a while', 1])('a token with a life of %s is asked for ever more seldom, and never used', async (life) => {
  const { tokens, asked, token } = await start(() => granted('worthless', life));
  const ref = refOf('a');
  tokens.follow([ref]);
  await until(() => asked.length === 4);
  const [first = 0, second = 0, third = 0, fourth = 0] = asked;
  expect(fourth - third).toBeGreaterThan(second - first);
  expect(fourth - first).toBeGreaterThan(100);
  expect(token(ref)).toBeUndefined();
  expect(tokens.state(ref)).toMatchObject({ state: 'unknown', detail: 'the answer holds no token, or none with a time to live' });
});

test('a life beyond all measure is no error, and the token is not asked for again', async () => {
  const { tokens, asked, token } = await start(() => granted('eternal', 1e300));
  const ref = refOf('a');
  tokens.follow([ref]);
  await until(() => token(ref) === 'eternal');
  expect(asked).toHaveLength(1);
});

test('with a clock that is years ahead a token is asked for once', async () => {
  const { tokens, asked, token } = await start(() => granted('good'), { wallClock: () => Date.now() + 9 * 365 * 24 * HOUR });
  const [first, second] = [refOf('a'), refOf('b')];
  tokens.follow([first]);
  await until(() => token(first) === 'good');
  tokens.follow([first, second]);
  await until(() => token(second) === 'good');
  // Had the first been due all the time it would have been asked for meanwhile.
  expect(asked).toHaveLength(2);
});

test('of a pod that was forgotten and comes back the stored token is not taken for good a second time', async () => {
  const ref = refOf('a');
  const inHours = (hours: number) => new Date(Date.now() + hours * HOUR).toISOString();
  const stored: Token = { token: 'stored', renewAt: inHours(0.5), expiresAt: inHours(1) };
  const { tokens, asked, token } = await start(() => granted('newer'), { known: new Map([[objectKey(ref), stored]]) });
  tokens.follow([ref]);
  expect(token(ref)).toBe('stored');
  tokens.follow([]);
  tokens.follow([ref]);
  await until(() => token(ref) === 'newer');
  expect(asked).toHaveLength(1);
});

test('the stored token of another pod is not that of this one', async () => {
  const inHours = (hours: number) => new Date(Date.now() + hours * HOUR).toISOString();
  const stored: Token = { token: 'stored', renewAt: inHours(0.5), expiresAt: inHours(1) };
  const { tokens, token } = await start(() => granted('own'), { known: new Map([[objectKey(refOf('before')), stored]]) });
  tokens.follow([refOf('after')]);
  expect(token(refOf('after'))).toBeUndefined();
  await until(() => token(refOf('after')) === 'own');
});
