import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { V1Pod } from '@kubernetes/client-node';
import { afterAll, describe, expect, it } from 'vitest';
import { warningsOf } from '../../src/checkpoint/copy/warnings.ts';
import { makeCopy } from '../../src/checkpoint/copy.ts';
import type { ApiObject, CopyPolicy, ObjectLookup, ObjectState } from '../../src/checkpoint/copy-types.ts';
import { manifestBytes, materialize, parseActiveManifest } from '../../src/checkpoint/materialize.ts';
import type { CopyOutcome } from '../../src/checkpoint/model.ts';
import { objectReferences } from '../../src/checkpoint/references.ts';
import { isMarked } from '../../src/checkpoint/selection.ts';
import { violations } from '../../src/checkpoint/static-pod-rules.ts';
import { expectGolden } from '../support/golden.ts';
import { SERVICE, SERVICE_ENV } from '../support/marked-pods.ts';

/**
 * Running pods as a Kubernetes 1.36 API server returns them, with the objects that they name (objects.json) and what becomes of them (….golden.json):
 * control planes as installers deploy them, and what a master needs beside its control plane.
 */
const CORPUS = new URL('../corpus/', import.meta.url).pathname;
const FAMILIES = ['kubeadm-1.36', 'bootkube', 'typhoon', 'talos-self-hosted', 'rke2', 'openshift', 'add-ons', 'features', 'refused'];

/** The pods of which there is no copy, and why. Every other one is copied. */
const REFUSED: Readonly<Record<string, readonly string[]>> = {
  'rke2/kube-apiserver': ['StaticPod metadata.annotations'],
  'rke2/etcd': ['StaticPod metadata.annotations'],
  'rke2/kube-controller-manager': ['StaticPod metadata.annotations'],
  'openshift/kube-apiserver': ['StaticPod metadata.annotations'],
  'add-ons/hcloud-cloud-controller-manager': ['SecretEnvRefused spec.containers[0].env[0].valueFrom.secretKeyRef'],
  'add-ons/etcd-ebs': ['PersistentVolumeClaim spec.volumes[0].persistentVolumeClaim'],
  'refused/ingress-nginx-controller': ['HostPort spec.containers[0].ports[0].hostPort', 'HostPort spec.containers[0].ports[1].hostPort'],
  'refused/kubeadm-upgrade-prepull': ['RestartPolicy spec.restartPolicy'],
  'refused/csi-secrets-consumer': ['CsiVolume spec.volumes[0].csi'],
  'refused/gpu-scheduler': ['ResourceClaim spec.resourceClaims', 'ResourceClaim spec.containers[0].resources.claims'],
  'refused/spiffe-agent': ['UnsupportedProjection spec.volumes[0].projected.sources[0].podCertificate'],
  'refused/etcd-raw-disk': ['PersistentVolumeClaim spec.volumes[0].persistentVolumeClaim'],
  'refused/node-cache-by-link': ['ServiceVariable spec.containers[0].args[1]'],
  'refused/scratch-on-claim': ['EphemeralVolume spec.volumes[0].ephemeral'],
};

/** What the copies are warned of, where it is anything. */
const WARNED: Readonly<Record<string, readonly string[]>> = {
  'bootkube/kube-controller-manager': ['BoundToken spec.volumes[3].projected.sources[0].serviceAccountToken'],
  'bootkube/kube-scheduler': ['ImagePullSecrets spec.imagePullSecrets'],
  'typhoon/kube-controller-manager': ['BoundToken spec.volumes[3].projected.sources[0].serviceAccountToken'],
  'typhoon/kube-scheduler': ['BoundToken spec.volumes[0].projected.sources[0].serviceAccountToken'],
  'add-ons/calico-typha': ['ImagePullSecrets spec.imagePullSecrets'],
  'add-ons/etcd-local': ['LocalVolumePath spec.volumes[0].persistentVolumeClaim'],
  'features/policy-webhook': ['ImagePullSecrets spec.imagePullSecrets'],
  'features/sandboxed-webhook': [
    'ImagePullSecrets spec.imagePullSecrets',
    'RuntimeClass spec.runtimeClassName',
    'SELinuxLabel spec.securityContext.seLinuxOptions',
  ],
};

const TRAITS: Readonly<Record<string, readonly [servesApi: boolean, handBack: string]>> = {
  'kubeadm-1.36/kube-apiserver': [true, 'exclusive'],
  'kubeadm-1.36/kube-scheduler': [false, 'exclusive'],
  'bootkube/kube-apiserver': [true, 'overlap'],
  'bootkube/kube-scheduler': [false, 'overlap'],
  'typhoon/kube-apiserver': [true, 'exclusive'],
  'talos-self-hosted/kube-apiserver': [true, 'exclusive'],
  'add-ons/coredns': [false, 'overlap'],
  'add-ons/etcd-local': [false, 'exclusive'],
  'add-ons/konnectivity-agent': [false, 'overlap'],
};

const POLICY: CopyPolicy = { secretEnv: 'refuse' };

const read = (file: string): unknown => JSON.parse(readFileSync(`${CORPUS}${file}.json`, 'utf8'));

interface Item {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec?: { readonly volumeName?: string };
}

function lookupOf(family: string): ObjectLookup {
  const items = existsSync(`${CORPUS}${family}/objects.json`) ? (read(`${family}/objects`) as { items: Item[] }).items : [];
  const find = (kind: string, namespace: string, name: string): ObjectState<object> => {
    const object = items.find((o) => o.kind === kind && (o.metadata.namespace ?? '') === namespace && o.metadata.name === name);
    return object === undefined ? { state: 'absent' } : { state: 'present', object };
  };
  return (ref): ObjectState<ApiObject> => {
    if (ref.kind === 'Token') {
      const times = { renewAt: '2026-10-02T09:00:00.000Z', expiresAt: '2026-10-02T09:14:00.000Z' };
      return { state: 'present', object: { token: `token for ${ref.name}`, ...times } };
    }
    if (ref.kind === 'Service') return { state: 'present', object: SERVICE };
    const found = find(ref.kind, ref.namespace, ref.name);
    if (ref.kind !== 'PersistentVolumeClaim' || found.state !== 'present') return found as ObjectState<ApiObject>;
    const claim = found.object as Item;
    return {
      state: 'present',
      object: { claim, volume: find('PersistentVolume', '', claim.spec?.volumeName ?? '') },
    } as ObjectState<ApiObject>;
  };
}

const ENTRIES = FAMILIES.flatMap((family) =>
  readdirSync(`${CORPUS}${family}`)
    .filter((file) => file.endsWith('.json') && !file.endsWith('.golden.json') && file !== 'objects.json')
    .map((file) => ({ family, name: `${family}/${file.slice(0, -'.json'.length)}` })),
);

/** The outcome as a person reads it: modes in octal, contents as text. */
function readable(outcome: CopyOutcome): unknown {
  if (outcome.kind !== 'copy') return outcome;
  const entry = ({ path, mode, uid, gid }: { path: string; mode: number; uid: number; gid: number }) =>
    `${mode.toString(8).padStart(4, '0')} ${uid}:${gid} ${path}`;
  const { pod, files, directories, traits, digest, instance } = outcome.copy;
  return {
    kind: outcome.kind,
    digest,
    ...(instance && { instance }),
    traits,
    directories: directories.map(entry),
    files: Object.fromEntries(files.map((file) => [entry(file), Buffer.from(file.bytes).toString('utf8')])),
    pod,
  };
}

describe('the corpus', () => {
  const counts = { copied: 0, refused: 0 };
  afterAll(() => {
    console.log(
      `corpus: ${ENTRIES.length} pods, ${counts.copied} copied, ${counts.refused} refused with the reason that is expected, 0 in between`,
    );
  });

  it.each(ENTRIES.map(({ name, family }) => [name, family] as const))('%s', (name, family) => {
    const pod = read(name) as V1Pod;
    const outcome = makeCopy(pod, lookupOf(family), POLICY);
    expectGolden(`${CORPUS}${name}.golden.json`, readable(outcome));
    const expected = REFUSED[name];
    if (expected !== undefined) {
      expect(outcome.kind === 'refused' && outcome.refusals.map(({ code, field }) => `${code} ${field}`)).toEqual(expected);
      counts.refused += 1;
      return;
    }
    expect(isMarked(pod)).toBe(true);
    if (outcome.kind !== 'copy') throw new Error(`expected a copy of ${name}: ${JSON.stringify(outcome)}`);
    const active = materialize(outcome.copy.pod, { generationDir: '/var/lib/pod-checkpointer/x/1', generation: 1, activation: 1 });
    expect(violations(active, 'master-1')).toEqual([]);
    expect(parseActiveManifest(manifestBytes(active))?.activation).toBe(1);
    expect(isMarked(active)).toBe(false);
    expect(objectReferences(active)).toEqual([]);
    const [servesApi, handBack] = TRAITS[name] ?? [outcome.copy.traits.servesApi, outcome.copy.traits.handBack];
    const asksApi = /\/kube-(controller-manager|scheduler)$/.test(name);
    expect(outcome.copy.traits).toEqual({ servesApi, ...(asksApi && { asksApi }), handBack });
    expect(warningsOf(outcome.copy.pod).map(({ code, field }) => `${code} ${field}`)).toEqual(WARNED[name] ?? []);
    counts.copied += 1;
  });

  it('tells every container where the API server is, by the operator’s word before the cluster’s, and has no copy where neither says so', () => {
    for (const { name, family } of ENTRIES.filter((entry) => REFUSED[entry.name] === undefined)) {
      const pod = read(name) as V1Pod;
      const denied: ObjectLookup = (ref) => (ref.kind === 'Service' ? { state: 'denied', detail: 'HTTP 403' } : lookupOf(family)(ref));
      const outcome = makeCopy(pod, denied, POLICY);
      expect(outcome.kind === 'refused' && new Set(outcome.refusals.map(({ code }) => code)), name).toEqual(
        new Set(['KubernetesServiceForbidden']),
      );
      const told = makeCopy(pod, denied, { ...POLICY, kubernetesService: { host: '127.0.0.1', port: 6443 } });
      const { initContainers = [], containers = [] } = (told.kind === 'copy' && told.copy.pod.spec) || {};
      // Cilium's containers say themselves where it is.
      for (const { env } of [...initContainers, ...containers])
        expect(
          env?.map((variable) => variable.name),
          name,
        ).toEqual(expect.arrayContaining(SERVICE_ENV.map((variable) => variable.name)));
      expect(containers, name).not.toEqual([]);
    }
  });

  it('has the same digest after its pods were made anew', () => {
    for (const { name, family } of ENTRIES) {
      const pod = read(name) as V1Pod;
      // The API server gives the volume of a pod's token another name in every pod.
      const again: V1Pod = JSON.parse(JSON.stringify(pod).replaceAll(/kube-api-access-[a-z0-9]{5}/g, 'kube-api-access-zzzzz'));
      const anew = {
        ...again,
        metadata: { ...pod.metadata, name: `${pod.metadata?.name?.slice(0, -5)}zzzzz`, uid: 'new', resourceVersion: '5000' },
      };
      const [one, other] = [pod, anew].map((given) => makeCopy(given, lookupOf(family), POLICY));
      if (one?.kind !== 'copy' || other?.kind !== 'copy' || pod.metadata?.ownerReferences === undefined) continue;
      expect(other.copy.digest, name).toBe(one.copy.digest);
      // Only what takes a token, or tells its containers the pod's name, is to be stored anew.
      expect(other.copy.instance === undefined, name).toBe(JSON.stringify(other.copy) === JSON.stringify(one.copy));
    }
  });

  it('of a Secret in a variable there is a copy where the operator allows it', () => {
    const name = 'add-ons/hcloud-cloud-controller-manager';
    const outcome = makeCopy(read(name) as V1Pod, lookupOf('add-ons'), { secretEnv: 'inline' });
    expect(outcome.kind === 'copy' && outcome.copy.pod.spec?.containers[0]?.env).toEqual([
      ...SERVICE_ENV,
      { name: 'HCLOUD_TOKEN', value: 'secret value hcloud/token\n' },
    ]);
  });
});
