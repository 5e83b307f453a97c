import { dump } from 'js-yaml';
import { describe, expect, test } from 'vitest';
import { KubeconfigError, loadKubeconfig, parseKubeconfig } from '../../src/sources/api/kubeconfig.ts';

const FILE = '/etc/kubernetes/kubelet.conf';
const PEM = '-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n';
const BASE64 = Buffer.from(PEM).toString('base64');

function config({ cluster = {}, user = { token: 't' } as object, root = {} } = {}): string {
  return dump({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'c', cluster: { server: 'https://10.0.0.1:6443', 'certificate-authority-data': BASE64, ...cluster } }],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
    ...root,
  });
}

describe('a kubeconfig', () => {
  test('as kubeadm writes it for a kubelet is understood', () => {
    const pem = '/var/lib/kubelet/pki/kubelet-client-current.pem';
    const parsed = parseKubeconfig(config({ user: { 'client-certificate': pem, 'client-key': pem } }), FILE);
    expect(parsed).toEqual({
      file: FILE,
      context: 'x',
      server: new URL('https://10.0.0.1:6443'),
      ca: { from: 'data', pem: PEM },
      serverName: undefined,
      login: { kind: 'certificate', certificate: { from: 'file', path: pem }, key: { from: 'file', path: pem } },
    });
  });

  test('has its relative paths relative to itself', () => {
    const cluster = { 'certificate-authority-data': undefined, 'certificate-authority': '../ca.crt' };
    const parsed = parseKubeconfig(config({ cluster, user: { tokenFile: 'token' } }), FILE);
    expect(parsed.ca).toEqual({ from: 'file', path: '/etc/ca.crt' });
    expect(parsed.login).toEqual({ kind: 'tokenFile', path: '/etc/kubernetes/token' });
  });

  test('may name a plugin: bare, or by a path relative to itself', () => {
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: 'bin/login', args: ['a b'], env: [{ name: 'A', value: 'b' }] };
    const login = (command: string) => parseKubeconfig(config({ user: { exec: { ...exec, command } } }), FILE).login;
    expect(login('bin/login')).toEqual({
      kind: 'exec',
      plugin: { ...exec, command: '/etc/kubernetes/bin/login', provideClusterInfo: false },
    });
    expect(login('login')).toMatchObject({ plugin: { command: 'login' } });
  });

  test.each<[string, string, string]>([
    ['no mapping', 'just text', 'not a kubeconfig: expected a mapping with clusters, users, contexts and current-context'],
    ['no current-context', config({ root: { 'current-context': '' } }), 'no current-context: expected the name of one of x'],
    [
      'a context that is not there',
      config({ root: { 'current-context': 'y' } }),
      'current-context names the context "y", which is not there: expected one of x',
    ],
    [
      'no cluster',
      config({ root: { clusters: [] } }),
      'context "x" names the cluster "c", which is not there: expected an entry of clusters, which is empty',
    ],
    [
      'no user',
      config({ root: { users: null } }),
      'context "x" names the user "u", which is not there: expected an entry of users, which is empty',
    ],
    ['an empty user', config({ root: { users: [{ name: 'u' }] } }), 'the user "u" is empty'],
    ['no server', config({ cluster: { server: undefined } }), 'cluster "c" has no server'],
    ['a server that is no URL', config({ cluster: { server: '10.0.0.1:6443' } }), 'cluster "c": server "10.0.0.1:6443" is not'],
    [
      'a server without TLS',
      config({ cluster: { server: 'http://a' } }),
      'cluster "c": server "http://a" is not https, expected https://host:port',
    ],
    [
      'verification off',
      config({ cluster: { 'insecure-skip-tls-verify': true } }),
      'cluster "c" sets insecure-skip-tls-verify: the server is always verified',
    ],
    ['a proxy', config({ cluster: { 'proxy-url': 'http://p' } }), 'cluster "c" sets proxy-url: proxies are not supported'],
    [
      'data that is no PEM',
      config({ cluster: { 'certificate-authority-data': 'eA==' } }),
      'certificate-authority-data is not base64 of PEM',
    ],
    [
      'no credentials',
      config({ user: { a: 1 } }),
      'user "u" has no credentials: expected a client certificate, a token, a tokenFile or an exec plugin',
    ],
    [
      'a certificate without key',
      config({ user: { 'client-certificate-data': BASE64 } }),
      'user "u" has only one of client-certificate and client-key',
    ],
    ['impersonation', config({ user: { token: 't', as: 'root' } }), 'user "u" sets as, which is not supported'],
    [
      'a plugin of an old version',
      config({ user: { exec: { command: 'a', apiVersion: 'v1alpha1' } } }),
      'user "u": exec.apiVersion is v1alpha1, expected',
    ],
  ])('with %s is refused in one line that names it', (_, text, message) => {
    const parse = () => parseKubeconfig(text, FILE);
    expect(parse).toThrow(KubeconfigError);
    expect(parse).toThrow(`${FILE}: ${message}`);
    expect(parse).not.toThrow(/\n/);
  });

  test('that is not YAML is refused with the line, and without what stands there', () => {
    const parse = () => parseKubeconfig('users:\n- name: u\n  user: {token: "sesame', FILE);
    expect(parse).toThrow(/^\/etc\/kubernetes\/kubelet.conf: not YAML: .* \(line \d\)$/);
    expect(parse).not.toThrow(/sesame/);
  });

  test('that cannot be read is refused by name', async () => {
    await expect(loadKubeconfig('/nonexistent/kubelet.conf')).rejects.toThrow(
      "/nonexistent/kubelet.conf: the kubeconfig cannot be read: ENOENT: no such file or directory, open '/nonexistent/kubelet.conf'",
    );
  });
});
