/** Credentials in Secrets in place of the host's files. */
import { generateKeyPairSync } from 'node:crypto';
import type { V1DaemonSet, V1Secret } from '@kubernetes/client-node';
import { load } from 'js-yaml';
import { describe, expect, it } from 'vitest';
import { createAuthority, createServerCertificate } from '../../src/embedded/pki.ts';
import { COMPONENTS, type Component } from '../../src/pivot/component.ts';
import { toDaemonSet } from '../../src/pivot/daemonset.ts';
import { flagsOf } from '../../src/pivot/flags.ts';
import {
  credentialFiles,
  credentialsSecret,
  fromSecrets,
  rbacAdvice,
  rotatedFiles,
  secretOf,
  secretRefusals,
  withSecrets,
} from '../../src/pivot/secrets.ts';
import { toStaticPod } from '../../src/pivot/static-pod.ts';
import { kubeadmPod } from '../support/pivot/kubeadm.ts';

const NODE = { name: 'master-1', hostIP: '10.0.0.10' };
const podOf = (component: Component) => kubeadmPod(component, { nodeIP: NODE.hostIP, minor: 36 });

function daemonSetOf(component: Component): V1DaemonSet {
  const outcome = toDaemonSet(component, podOf(component), NODE);
  if (outcome.kind === 'refused') throw new Error('a DaemonSet was expected');
  return outcome.daemonSet;
}

const kubeconfig = (server: string, more = '    client-certificate-data: eA==\n') =>
  Buffer.from(`apiVersion: v1\nkind: Config\nclusters:\n- cluster:\n    server: ${server}\n  name: k\nusers:\n- user:\n${more}  name: u\n`);

/** Every file by what it is called, a kubeconfig where one is expected. */
function bytesOf(component: Component): Map<string, Buffer> {
  return new Map(
    credentialFiles(component, podOf(component)).map(({ path }) => [
      path,
      path.endsWith('.conf') ? kubeconfig('https://10.0.0.10:6443') : Buffer.from(path),
    ]),
  );
}

const filesOf = (component: Component) => credentialFiles(component, podOf(component));
const there = (component: Component, change: (bytes: Map<string, Buffer>) => void = () => undefined): V1Secret => {
  const bytes = bytesOf(component);
  change(bytes);
  return secretOf(component, filesOf(component), bytes);
};

describe('credentials in Secrets', () => {
  it('are the files that the flags name, and no others', () => {
    expect(
      filesOf('kube-apiserver')
        .map(({ key }) => key)
        .sort(),
    ).toEqual([
      'apiserver-etcd-client.crt',
      'apiserver-etcd-client.key',
      'apiserver-kubelet-client.crt',
      'apiserver-kubelet-client.key',
      'apiserver.crt',
      'apiserver.key',
      'ca.crt',
      'etcd--ca.crt',
      'front-proxy-ca.crt',
      'front-proxy-client.crt',
      'front-proxy-client.key',
      'sa.key',
      'sa.pub',
    ]);
    expect(filesOf('kube-scheduler').map(({ key }) => key)).toEqual(['scheduler.conf']);
  });

  it('are mounted where the files were, with their paths', () => {
    const spec = withSecrets('kube-apiserver', podOf('kube-apiserver'), daemonSetOf('kube-apiserver')).spec?.template.spec;
    const volume = spec?.volumes?.find(({ name }) => name === 'k8s-certs');
    expect(volume?.hostPath).toBeUndefined();
    expect(volume?.secret).toMatchObject({ secretName: 'kube-apiserver-credentials', defaultMode: 0o400 });
    expect(volume?.secret?.items).toContainEqual({ key: 'etcd--ca.crt', path: 'etcd/ca.crt' });
    // The system's CA bundles stay the host's.
    expect(spec?.volumes?.find(({ name }) => name === 'ca-certs')?.hostPath?.path).toBe('/etc/ssl/certs');
    expect(flagsOf(spec?.containers[0] ?? {}).get('tls-cert-file')).toBe('/etc/kubernetes/pki/apiserver.crt');
  });

  it('are a directory where the pod had a single file, as the kubelet never updates a Secret that is mounted over a file', () => {
    const spec = withSecrets('kube-scheduler', podOf('kube-scheduler'), daemonSetOf('kube-scheduler')).spec?.template.spec;
    expect(spec?.volumes?.map(({ name }) => name)).toEqual(['credentials']);
    const flags = flagsOf(spec?.containers[0] ?? {});
    for (const flag of ['kubeconfig', 'authentication-kubeconfig', 'authorization-kubeconfig'])
      expect(flags.get(flag)).toBe('/etc/kubernetes/credentials/scheduler.conf');
    expect(spec?.containers[0]?.volumeMounts).toEqual([{ name: 'credentials', mountPath: '/etc/kubernetes/credentials', readOnly: true }]);
  });

  it.each(COMPONENTS)('of %s become files again on the way back', (component) => {
    const { status: _, ...pod } = podOf(component);
    const spec = pod.spec ?? { containers: [] };
    const made = withSecrets(component, pod, daemonSetOf(component));
    const back = toStaticPod(component, pod, fromSecrets(component, pod, made), NODE);
    const byName = (volumes: readonly { readonly name: string }[] | undefined) => volumes?.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    expect(byName(back.spec?.volumes)).toEqual(byName(spec.volumes));
    expect(byName(back.spec?.containers[0]?.volumeMounts)).toEqual(byName(spec.containers[0]?.volumeMounts));
    expect(back.spec?.containers[0]?.command).toEqual(spec.containers[0]?.command);
  });
});

describe('a Secret of another master', () => {
  const refusals = (component: Component, secret: V1Secret, bytes = bytesOf(component)) =>
    secretRefusals(component, filesOf(component), bytes, secret, NODE.hostIP).map(({ what }) => what);

  it('can be used when it holds the same', () => {
    for (const component of COMPONENTS) expect(refusals(component, there(component))).toEqual([]);
  });

  it('can be used when client certificates differ', () => {
    const other = there('kube-apiserver', (bytes) => bytes.set('/etc/kubernetes/pki/apiserver-kubelet-client.crt', Buffer.from('x')));
    expect(refusals('kube-apiserver', other)).toEqual([]);
  });

  it.each([
    ['another CA', '/etc/kubernetes/pki/ca.crt', '--client-ca-file'],
    ["another signing key of service accounts' tokens", '/etc/kubernetes/pki/sa.key', '--service-account-signing-key-file'],
    ['a serving certificate that is none', '/etc/kubernetes/pki/apiserver.crt', '--tls-cert-file'],
  ])('is refused for %s, by the name of the flag', (_what, path, flag) => {
    const other = there('kube-apiserver', (bytes) => bytes.set(path, Buffer.from('x')));
    expect(refusals('kube-apiserver', other)).toEqual([flag]);
  });

  it('is refused for a serving certificate without the address of this node, and taken with it', async () => {
    const authority = await createAuthority('test');
    const serving = async (...names: string[]) =>
      Buffer.from((await createServerCertificate(authority, 'kube-apiserver', names)).certificate);
    const secret = (certificate: Buffer) => there('kube-apiserver', (bytes) => bytes.set('/etc/kubernetes/pki/apiserver.crt', certificate));
    expect(refusals('kube-apiserver', secret(await serving('10.0.0.11')))).toEqual(['--tls-cert-file']);
    expect(refusals('kube-apiserver', secret(await serving('10.0.0.11', '10.0.0.10')))).toEqual([]);
  });

  it('is refused for a kubeconfig that leads to another API server', () => {
    const other = there('kube-scheduler', (bytes) => bytes.set('/etc/kubernetes/scheduler.conf', kubeconfig('https://10.0.0.11:6443')));
    expect(refusals('kube-scheduler', other)).toEqual(['--authentication-kubeconfig']);
    const renewed = there('kube-scheduler', (bytes) =>
      bytes.set('/etc/kubernetes/scheduler.conf', kubeconfig('https://10.0.0.10:6443', '    client-certificate-data: eQ==\n')),
    );
    expect(refusals('kube-scheduler', renewed)).toEqual([]);
  });
});

describe('what is refused before there is a Secret', () => {
  it('is a kubeconfig that names other files, and a file that cannot be read', () => {
    const bytes = bytesOf('kube-scheduler');
    bytes.set(
      '/etc/kubernetes/scheduler.conf',
      kubeconfig('https://10.0.0.10:6443', '    client-certificate: /var/lib/kubelet/pki/x.pem\n'),
    );
    const [refusal] = secretRefusals('kube-scheduler', filesOf('kube-scheduler'), bytes, undefined, NODE.hostIP);
    expect(refusal?.message).toContain('/var/lib/kubelet/pki/x.pem');
    const [missing] = secretRefusals('kube-scheduler', filesOf('kube-scheduler'), new Map(), undefined, NODE.hostIP);
    expect(missing?.message).toContain('/etc/kubernetes/scheduler.conf cannot be read');
  });

  it('never shows what is in a file', () => {
    const { privateKey } = generateKeyPairSync('ed25519');
    const secret = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    const other = there('kube-apiserver', (bytes) => bytes.set('/etc/kubernetes/pki/sa.key', Buffer.from(secret)));
    const told = JSON.stringify(secretRefusals('kube-apiserver', filesOf('kube-apiserver'), bytesOf('kube-apiserver'), other, NODE.hostIP));
    expect(told).not.toContain(secret.split('\n')[1]);
  });
});

describe('a Secret that was edited since', () => {
  it('is told by the files that it no longer agrees with', () => {
    const edited = there('kube-apiserver', (bytes) => bytes.set('/etc/kubernetes/pki/apiserver.crt', Buffer.from('new')));
    expect(rotatedFiles(filesOf('kube-apiserver'), bytesOf('kube-apiserver'), edited).map(({ path }) => path)).toEqual([
      '/etc/kubernetes/pki/apiserver.crt',
    ]);
    expect(rotatedFiles(filesOf('kube-apiserver'), bytesOf('kube-apiserver'), undefined)).toEqual([]);
  });
});

describe('the advice on roles', () => {
  it('is a Role on exactly these Secrets', () => {
    const role = load(rbacAdvice(COMPONENTS)) as { rules: { resourceNames: string[]; verbs: string[] }[] };
    expect(role.rules).toEqual([
      { apiGroups: [''], resources: ['secrets'], resourceNames: COMPONENTS.map(credentialsSecret), verbs: ['get', 'update', 'patch'] },
    ]);
  });
});
