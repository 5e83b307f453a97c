/** Static pods of a control plane as DaemonSets: goldens for each minor of kubeadm, and every rule by itself. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { V1DaemonSet, V1Pod } from '@kubernetes/client-node';
import { dump, load } from 'js-yaml';
import { describe, expect, it, test } from 'vitest';
import { traitsOf } from '../../src/checkpoint/copy/traits.ts';
import { COMPONENTS, type Component, minorOf, parseStaticPod } from '../../src/pivot/component.ts';
import { type NodeFacts, toDaemonSet } from '../../src/pivot/daemonset.ts';
import { describeDifference, templateDifferences } from '../../src/pivot/differences.ts';
import { flagValue } from '../../src/pivot/flags.ts';
import { sharedStaticPod, toStaticPod } from '../../src/pivot/static-pod.ts';
import { kubeadmManifest, kubeadmPod, MINORS } from '../support/pivot/kubeadm.ts';

const NODE: NodeFacts = { name: 'master-1', hostIP: '10.0.0.10' };
const CLUSTER = { nodeIP: NODE.hostIP, minor: 36 } as const;

function daemonSetOf(component: Component, pod: V1Pod, node = NODE): V1DaemonSet {
  const outcome = toDaemonSet(component, pod, node);
  if (outcome.kind === 'refused') throw new Error(outcome.refusals.map(({ message }) => message).join('; '));
  return outcome.daemonSet;
}

function golden(path: string, text: string): string {
  const file = join(import.meta.dirname, '../golden/pivot', path);
  if (process.env['UPDATE_GOLDENS'] === '1') {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
  return readFileSync(file, 'utf8');
}

describe.each(MINORS)('of kubeadm 1.%i', (minor) => {
  test.each(COMPONENTS)('%s becomes the DaemonSet of the golden', (component) => {
    const manifest = kubeadmManifest(component, { ...CLUSTER, minor });
    const text = dump(daemonSetOf(component, parseStaticPod(manifest, `${component}.yaml`)), { noRefs: true, sortKeys: true });
    expect(text).toBe(golden(`1.${minor}/${component}.yaml`, text));
  });

  test.each(COMPONENTS)('%s comes back from its DaemonSet as it was', (component) => {
    const { status: _, ...original } = kubeadmPod(component, { ...CLUSTER, minor });
    expect(toStaticPod(component, original, daemonSetOf(component, original), NODE)).toEqual(original);
  });
});

const template = (set: V1DaemonSet) => set.spec?.template;
const container = (set: V1DaemonSet) => {
  const found = template(set)?.spec?.containers[0];
  if (found === undefined) throw new Error('a container was expected');
  return found;
};
const apiserver = () => kubeadmPod('kube-apiserver', CLUSTER);
const withArgs = (pod: V1Pod, change: (words: readonly string[]) => string[]): V1Pod => ({
  ...pod,
  spec: { ...pod.spec, containers: (pod.spec?.containers ?? []).map((one) => ({ ...one, command: change(one.command ?? []) })) },
});

describe('a DaemonSet of the control plane', () => {
  it.each(COMPONENTS)('%s declares no port and asks every probe by number', (component) => {
    const text = JSON.stringify(daemonSetOf(component, kubeadmPod(component, CLUSTER)));
    expect(text).not.toContain('"ports"');
    expect(text).not.toContain('probe-port');
  });

  it.each(COMPONENTS)('%s can run beside its copy', (component) => {
    const set = daemonSetOf(component, kubeadmPod(component, CLUSTER));
    const pod = { apiVersion: 'v1', kind: 'Pod', ...template(set) } as V1Pod;
    const servesApi = component === 'kube-apiserver';
    expect(traitsOf(pod)).toEqual({ servesApi, ...(!servesApi && { asksApi: true }), handBack: 'overlap' });
  });

  it('is the same for two masters that differ in their addresses only', () => {
    const other = daemonSetOf('kube-apiserver', kubeadmPod('kube-apiserver', { ...CLUSTER, nodeIP: '10.0.0.11' }), {
      name: 'master-2',
      hostIP: '10.0.0.11',
    });
    expect(other).toEqual(daemonSetOf('kube-apiserver', apiserver()));
  });

  it('keeps a sidecar, without its ports', () => {
    const pod = apiserver();
    const sidecar = {
      name: 'kms',
      image: 'registry.local/kms:1',
      ports: [{ containerPort: 8080, name: 'health' }],
      livenessProbe: { httpGet: { port: 'health' } },
    };
    const made = daemonSetOf('kube-apiserver', { ...pod, spec: { ...pod.spec, containers: [sidecar, ...(pod.spec?.containers ?? [])] } });
    expect(template(made)?.spec?.containers[0]).toEqual({
      name: 'kms',
      image: 'registry.local/kms:1',
      livenessProbe: { httpGet: { port: 8080 } },
    });
    expect(flagValue(template(made)?.spec?.containers[1] ?? {}, 'permit-port-sharing')).toBe('true');
  });

  it('turns port sharing on where it was turned off', () => {
    const made = daemonSetOf(
      'kube-apiserver',
      withArgs(apiserver(), (words) => [...words, '--permit-port-sharing=false']),
    );
    expect(container(made).command?.filter((word) => word.includes('sharing'))).toEqual(['--permit-port-sharing=true']);
  });

  it.each<[string, (pod: V1Pod) => V1Pod, string]>([
    [
      'an address that is not the first one of the node',
      (pod) => withArgs(pod, (words) => words.map((word) => word.replace(/(advertise-address)=.*/, '$1=192.0.2.1'))),
      '--advertise-address',
    ],
    [
      'a pod network of its own',
      (pod) => ({ ...pod, spec: { ...pod.spec, hostNetwork: false, containers: pod.spec?.containers ?? [] } }),
      'spec.hostNetwork',
    ],
    [
      'a volume that no static pod can have',
      (pod) => ({
        ...pod,
        spec: { ...pod.spec, containers: pod.spec?.containers ?? [], volumes: [{ name: 'x', secret: { secretName: 'x' } }] },
      }),
      'spec.volumes[x]',
    ],
    ['another namespace', (pod) => ({ ...pod, metadata: { ...pod.metadata, namespace: 'default' } }), 'metadata.namespace'],
  ])('is refused for %s, naming it', (_what, change, named) => {
    const outcome = toDaemonSet('kube-apiserver', change(apiserver()), NODE);
    expect(outcome.kind === 'refused' ? outcome.refusals.map(({ what }) => what) : outcome.kind).toEqual([named]);
  });
});

describe('what differs between masters', () => {
  it('is named by flag', () => {
    const here = daemonSetOf('kube-apiserver', apiserver());
    const there = daemonSetOf(
      'kube-apiserver',
      withArgs(apiserver(), (words) => [...words.filter((word) => !word.startsWith('--etcd-servers')), '--v=4']),
    );
    expect(templateDifferences(here, there).map(describeDifference)).toEqual([
      '--etcd-servers of container kube-apiserver: https://127.0.0.1:2379 here, none there',
      '--v of container kube-apiserver: none here, 4 there',
    ]);
  });

  it('is not what the API server filled in', () => {
    const made = daemonSetOf('kube-apiserver', apiserver());
    const stored = structuredClone(made);
    const spec = stored.spec?.template.spec;
    if (spec === undefined) throw new Error('a spec was expected');
    spec.schedulerName = 'default-scheduler';
    spec.dnsPolicy = 'ClusterFirst';
    const [main] = spec.containers;
    if (main?.livenessProbe !== undefined) main.livenessProbe.successThreshold = 1;
    expect(templateDifferences(made, stored)).toEqual([]);
  });

  it.each<[string, (set: V1DaemonSet) => void, string]>([
    [
      'an image',
      (set) => Object.assign(container(set), { image: 'registry.k8s.io/kube-apiserver:v1.35.0' }),
      'spec.containers[kube-apiserver].image',
    ],
    [
      'where a volume leads',
      (set) => Object.assign(template(set)?.spec?.volumes?.[2]?.hostPath ?? {}, { path: '/etc/pki' }),
      'spec.volumes[k8s-certs].hostPath.path',
    ],
    ['a volume more', (set) => template(set)?.spec?.volumes?.push({ name: 'audit' }), 'spec.volumes[audit]'],
    [
      'a probe',
      (set) => Object.assign(container(set).livenessProbe ?? {}, { timeoutSeconds: 1 }),
      'spec.containers[kube-apiserver].livenessProbe.timeoutSeconds',
    ],
  ])('is %s', (_what, change, named) => {
    const there = structuredClone(daemonSetOf('kube-apiserver', apiserver()));
    change(there);
    expect(templateDifferences(daemonSetOf('kube-apiserver', apiserver()), there).map(({ what }) => what)).toEqual([named]);
  });
});

describe('the way back', () => {
  it('keeps what was changed while the control plane was self-hosted', () => {
    const set = structuredClone(daemonSetOf('kube-apiserver', apiserver()));
    Object.assign(container(set), { image: 'registry.k8s.io/kube-apiserver:v1.36.3' });
    container(set).command?.push('--v=4');
    const back = toStaticPod('kube-apiserver', apiserver(), set, NODE);
    const [main] = back.spec?.containers ?? [];
    expect(main?.image).toBe('registry.k8s.io/kube-apiserver:v1.36.3');
    expect(flagValue(main ?? {}, 'v')).toBe('4');
    expect(flagValue(main ?? {}, 'advertise-address')).toBe('10.0.0.10');
    expect(flagValue(main ?? {}, 'permit-port-sharing')).toBeUndefined();
    expect(main?.readinessProbe?.httpGet).toEqual({ host: '10.0.0.10', path: '/readyz', port: 'probe-port', scheme: 'HTTPS' });
    expect(back.metadata).toEqual(apiserver().metadata);
  });

  it('leaves a probe that was changed as it is', () => {
    const set = structuredClone(daemonSetOf('kube-apiserver', apiserver()));
    Object.assign(container(set).livenessProbe?.httpGet ?? {}, { port: 7443 });
    expect(toStaticPod('kube-apiserver', apiserver(), set, NODE).spec?.containers[0]?.livenessProbe?.httpGet?.port).toBe(7443);
  });
});

describe('a static pod that shares its port', () => {
  it('has another name, so that it does not wait behind the old one, and is otherwise the same', () => {
    const shared = sharedStaticPod('kube-apiserver', apiserver());
    expect(shared.metadata?.name).toBe('kube-apiserver-shared');
    const [main] = shared.spec?.containers ?? [];
    expect(main?.command?.at(-1)).toBe('--permit-port-sharing=true');
    expect(main?.ports).toBeUndefined();
    expect(main?.livenessProbe?.httpGet?.port).toBe(6443);
  });
});

describe('a manifest', () => {
  it.each([
    ['no YAML', 'a: [', 'is not YAML'],
    ['no pod', dump({ kind: 'DaemonSet' }), 'is not a pod'],
    [
      'a pod without containers',
      dump({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'x' }, spec: { containers: [] } }),
      'is not a pod',
    ],
  ])('that is %s is refused by the name of its file', (_what, text, message) => {
    expect(() => parseStaticPod(text, '/etc/kubernetes/manifests/kube-apiserver.yaml')).toThrow(
      `/etc/kubernetes/manifests/kube-apiserver.yaml ${message}`,
    );
  });

  it.each([
    ['registry.k8s.io/kube-apiserver:v1.36.2', 36],
    ['registry.local:5000/kube-apiserver:v1.30.14-gke.1@sha256:0123456789abcdef', 30],
    ['registry.k8s.io/kube-apiserver', undefined],
    ['registry.k8s.io/kube-apiserver@sha256:0123', undefined],
    ['registry.local/kube-apiserver:latest', undefined],
  ])('of %s says its minor version', (image, minor) => {
    expect(minorOf(image)?.minor).toBe(minor);
  });

  it('is read again from what is dumped of it', () => {
    expect(load(kubeadmManifest('kube-scheduler', CLUSTER))).toEqual(kubeadmPod('kube-scheduler', CLUSTER));
  });
});
