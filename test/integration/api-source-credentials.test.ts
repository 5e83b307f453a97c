import { chmod, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { dump } from 'js-yaml';
import { expect, onTestFinished, test } from 'vitest';
import { createClientCertificate, createServerCertificate } from '../../src/embedded/pki.ts';
import { type ApiClient, createApiClient } from '../../src/sources/api/client.ts';
import { loadKubeconfig } from '../../src/sources/api/kubeconfig.ts';
import { FakeApiServer, sendStatus } from '../support/api/fake-server.ts';
import { startServer, testAuthority } from '../support/api/setup.ts';

async function directory(): Promise<string> {
  const dir = await mkdtemp(path.join(tmpdir(), 'api-credentials-'));
  onTestFinished(() => rm(dir, { recursive: true }));
  return dir;
}

/** A kubeconfig in its own directory with the CA as a file beside it. */
async function configured(server: FakeApiServer, user: object, dir: string, cluster: object = {}): Promise<ApiClient> {
  await writeFile(path.join(dir, 'ca.crt'), (await testAuthority()).certificate);
  const file = path.join(dir, 'kubelet.conf');
  const config = {
    clusters: [{ name: 'c', cluster: { server: server.url, 'certificate-authority': 'ca.crt', ...cluster } }],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  };
  await writeFile(file, dump(config));
  const client = createApiClient(await loadKubeconfig(file));
  onTestFinished(() => client.close());
  return client;
}

function ask(client: ApiClient) {
  return client.get('/api/v1/pods', { signal: new AbortController().signal, headTimeoutMs: 2_000, bodyTimeoutMs: 2_000 });
}

/** As the kubelet writes it: certificate and key in one file. */
async function onePem(name: string): Promise<string> {
  const pair = await createClientCertificate(await testAuthority(), name, ['system:nodes']);
  return `${pair.certificate}\n${pair.key}`;
}

test('certificate and key in one file are read, and read again when the file was replaced', async () => {
  const server = await startServer();
  const dir = await directory();
  const pem = path.join(dir, 'kubelet-client-current.pem');
  await writeFile(pem, await onePem('system:node:first'));
  const client = await configured(
    server,
    { 'client-certificate': 'kubelet-client-current.pem', 'client-key': 'kubelet-client-current.pem' },
    dir,
  );
  await ask(client);
  await writeFile(`${pem}.new`, await onePem('system:node:second'));
  await rename(`${pem}.new`, pem);
  await ask(client);
  expect(server.requests.map((r) => r.user)).toEqual(['system:node:first', 'system:node:second']);
});

test('a token file is read again when it was replaced', async () => {
  const server = await startServer();
  const dir = await directory();
  await writeFile(path.join(dir, 'token'), 'first\n');
  const client = await configured(server, { tokenFile: 'token' }, dir);
  await ask(client);
  await ask(client);
  await writeFile(path.join(dir, 'token.new'), 'second, longer\n');
  await rename(path.join(dir, 'token.new'), path.join(dir, 'token'));
  await ask(client);
  expect(server.requests.map((r) => r.authorization)).toEqual(['Bearer first', 'Bearer first', 'Bearer second, longer']);
});

test('credentials that cannot be read are an unreachable API server, in words that name the file', async () => {
  const server = await startServer();
  const dir = await directory();
  const client = await configured(server, { 'client-certificate': 'gone.pem', 'client-key': 'gone.pem' }, dir);
  expect(await ask(client)).toMatchObject({
    kind: 'unreachable',
    cause: 'credentials',
    detail: expect.stringContaining(`client certificate ${path.join(dir, 'gone.pem')} cannot be read`),
  });
  await writeFile(path.join(dir, 'gone.pem'), 'nonsense');
  expect(await ask(client)).toMatchObject({
    cause: 'credentials',
    detail: expect.stringContaining('kubelet.conf: the certificates of context "x"'),
  });
});

test('a plugin is run for a token, again after its end, and again after 401', async () => {
  const server = await startServer();
  const dir = await directory();
  const script = path.join(dir, 'plugin');
  // Counts its runs; the first token has expired when it is given.
  const source = `#!/bin/sh
echo run >>"$RUNS"
n=$(wc -l <"$RUNS")
end=2099-01-01T00:00:00Z
[ "$n" -eq 1 ] && end=2001-01-01T00:00:00Z
case "$KUBERNETES_EXEC_INFO" in *'"interactive":false'*) ;; *) exit 3 ;; esac
echo "{\\"apiVersion\\":\\"client.authentication.k8s.io/v1\\",\\"kind\\":\\"ExecCredential\\",\\"status\\":{\\"token\\":\\"$1-$n\\",\\"expirationTimestamp\\":\\"$end\\"}}"
`;
  await writeFile(script, source);
  await chmod(script, 0o755);
  const client = await configured(
    server,
    {
      exec: {
        apiVersion: 'client.authentication.k8s.io/v1',
        command: './plugin',
        args: ['token; $(ls)'],
        env: [{ name: 'RUNS', value: path.join(dir, 'runs') }],
      },
    },
    dir,
  );
  await ask(client);
  await ask(client);
  await ask(client);
  server.hook = (_, response) => {
    sendStatus(response, 401, 'Unauthorized');
    return true;
  };
  expect((await ask(client)).kind).toBe('denied');
  server.hook = undefined;
  await ask(client);
  const tokens = [1, 2, 2, 2, 3].map((n) => `Bearer token; $(ls)-${n}`);
  expect(server.requests.map((r) => r.authorization)).toEqual(tokens);
});

test('a plugin that fails is named, with the first line of what it said', async () => {
  const server = await startServer();
  const dir = await directory();
  const script = path.join(dir, 'plugin');
  await writeFile(script, '#!/bin/sh\necho not logged in >&2\necho more >&2\nexit 7\n');
  await chmod(script, 0o755);
  const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: script };
  const client = await configured(server, { exec }, dir);
  expect(await ask(client)).toMatchObject({ detail: `credential plugin ${script}: ended with exit code 7: not logged in` });
});

test('the server is verified by tls-server-name where the kubeconfig gives one', async () => {
  const ca = await testAuthority();
  const server = new FakeApiServer(await createServerCertificate(ca, 'kube-apiserver', ['kubernetes.default.svc']), ca.certificate);
  await server.start();
  onTestFinished(() => server.stop());
  const dir = await directory();
  const user = { token: 't' };
  expect(await ask(await configured(server, user, dir))).toMatchObject({
    cause: 'tls',
    detail: expect.stringContaining('ERR_TLS_CERT_ALTNAME_INVALID'),
  });
  expect(await ask(await configured(server, user, dir, { 'tls-server-name': 'kubernetes.default.svc' }))).toMatchObject({ kind: 'ok' });
});

test('the server is verified even where the environment says that it need not be', async () => {
  const server = await startServer();
  const dir = await directory();
  const client = await configured(server, { token: 't' }, dir, { 'certificate-authority': undefined });
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
  onTestFinished(() => {
    delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
  });
  expect(await ask(client)).toMatchObject({ kind: 'unreachable', cause: 'tls' });
});
