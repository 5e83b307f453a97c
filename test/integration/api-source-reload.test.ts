import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { loadKubeconfig } from '../../src/sources/api/kubeconfig.ts';
import { createReloadingClient, type ReloadingClient } from '../../src/sources/api/reloading-client.ts';
import { watchFiles } from '../../src/sources/watch-files.ts';
import type { FakeApiServer } from '../support/api/fake-server.ts';
import { nodeKubeconfig, recordLog, startServer, startSource } from '../support/api/setup.ts';
import { until } from '../support/until.ts';

interface Setting {
  readonly first: FakeApiServer;
  readonly second: FakeApiServer;
  readonly file: string;
  readonly client: ReloadingClient;
  readonly lines: Record<string, unknown>[];
}

async function setting(): Promise<Setting> {
  const dir = await mkdtemp(join(tmpdir(), 'kubeconfig-'));
  onTestFinished(() => rm(dir, { recursive: true }));
  const [first, second] = [await startServer(), await startServer()];
  const file = join(dir, 'kubelet.conf');
  await writeFile(file, await nodeKubeconfig(first.url));
  const { log, lines } = recordLog();
  const client = createReloadingClient(await loadKubeconfig(file), () => loadKubeconfig(file), log);
  onTestFinished(() => client.close());
  return { first, second, file, client, lines };
}

const ask = (client: ReloadingClient) =>
  client.get('/api/v1/pods', { signal: new AbortController().signal, headTimeoutMs: 2_000, bodyTimeoutMs: 2_000 });

const replacements: readonly [string, (file: string, text: string) => Promise<void>][] = [
  [
    'renamed into place',
    async (file, text) => {
      await writeFile(`${file}.new`, text);
      await rename(`${file}.new`, file);
    },
  ],
  ['written in place', writeFile],
];

test.each(replacements)('a kubeconfig that is %s counts from the next request on', async (_, replace) => {
  const { first, second, file, client } = await setting();
  await ask(client);
  await ask(client);
  await replace(file, await nodeKubeconfig(second.url));
  expect(await ask(client)).toMatchObject({ kind: 'ok' });
  expect([first.requests.length, second.requests.length]).toEqual([2, 1]);
});

test.each(replacements)('a source that only watches goes over to a kubeconfig that is %s', async (_, replace) => {
  const { first, second, file, client, lines } = await setting();
  const running = startSource(client);
  const watching = watchFiles([join(file, '..')], () => void client.refresh(), { info: () => undefined, warn: () => undefined });
  onTestFinished(() => watching.close());
  await until(() => running.state() === 'ok' && first.watches.length > 0);
  // The watch of the files has no moment at which it has begun.
  const text = await nodeKubeconfig(second.url);
  await until(async () => {
    await replace(file, text);
    return second.watches.length > 0;
  });
  await until(() => running.state() === 'ok' && first.watches.length === 0);
  expect(lines.filter(({ msg }) => msg === 'the kubeconfig changed: what it says now counts')).toHaveLength(1);
});

test('one that was read long ago is read again before the first request', async () => {
  const { second, file, client } = await setting();
  await writeFile(file, await nodeKubeconfig(second.url));
  expect(await ask(client)).toMatchObject({ kind: 'ok' });
  expect(second.requests).toHaveLength(1);
});

test('one that is half written, or gone for a while, changes nothing, and is said once without what it holds', async () => {
  const { first, second, file, client, lines } = await setting();
  const next = await nodeKubeconfig(second.url);
  await writeFile(file, next.slice(0, next.length / 2));
  for (let i = 0; i < 3; i++) expect(await ask(client)).toMatchObject({ kind: 'ok' });
  await rm(file);
  expect(await ask(client)).toMatchObject({ kind: 'ok' });
  expect(first.requests).toHaveLength(4);
  const said = lines.filter(({ msg }) => String(msg).includes('cannot be used'));
  expect(said).toHaveLength(2);
  expect(JSON.stringify(said)).not.toContain('client-key-data');
  await writeFile(file, next);
  await ask(client);
  expect(second.requests).toHaveLength(1);
});

test('the same content in another file is no change: nothing is connected anew', async () => {
  const { first, file, client } = await setting();
  const text = await nodeKubeconfig(first.url);
  await writeFile(file, text);
  await ask(client);
  await writeFile(`${file}.new`, text);
  await rename(`${file}.new`, file);
  await ask(client);
  expect(first.connections).toBe(1);
});
