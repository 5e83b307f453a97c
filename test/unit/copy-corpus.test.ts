import { readFileSync } from 'node:fs';
import type { V1ConfigMap, V1Pod, V1Secret } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { makeCopy } from '../../src/checkpoint/copy.ts';
import type { CopyPolicy, ObjectLookup } from '../../src/checkpoint/copy-types.ts';
import { manifestBytes, materialize, parseActiveManifest } from '../../src/checkpoint/materialize.ts';
import type { CopyOutcome } from '../../src/checkpoint/model.ts';
import { objectReferences } from '../../src/checkpoint/references.ts';
import { isMarked } from '../../src/checkpoint/selection.ts';
import { violations } from '../../src/checkpoint/static-pod-rules.ts';
import { expectGolden } from '../support/golden.ts';

/** Running pods as a Kubernetes 1.36 API server returns them, and the objects that they name. */
const CORPUS = new URL('../corpus/', import.meta.url).pathname;

const read = (file: string): unknown => JSON.parse(readFileSync(`${CORPUS}${file}.json`, 'utf8'));
const { items } = read('bootkube/objects') as { items: (V1Secret | V1ConfigMap)[] };
const lookup: ObjectLookup = (ref) => {
  const object = items.find((o) => o.kind === ref.kind && o.metadata?.namespace === ref.namespace && o.metadata?.name === ref.name);
  return object === undefined ? { state: 'absent' } : { state: 'present', object };
};
const policy: CopyPolicy = { secretEnv: 'refuse' };

/** The outcome as a person reads it: modes in octal, contents as text. */
function readable(outcome: CopyOutcome): unknown {
  if (outcome.kind !== 'copy') return outcome;
  const entry = ({ path, mode, uid, gid }: { path: string; mode: number; uid: number; gid: number }) =>
    `${mode.toString(8).padStart(4, '0')} ${uid}:${gid} ${path}`;
  const { pod, files, directories, traits, digest } = outcome.copy;
  return {
    kind: outcome.kind,
    digest,
    traits,
    directories: directories.map(entry),
    files: Object.fromEntries(files.map((file) => [entry(file), Buffer.from(file.bytes).toString('utf8')])),
    pod,
  };
}

describe('a control plane that runs itself', () => {
  it.each([
    ['kubeadm-1.36/kube-apiserver', true, 'exclusive'],
    ['kubeadm-1.36/kube-controller-manager', false, 'exclusive'],
    ['kubeadm-1.36/kube-scheduler', false, 'exclusive'],
    ['bootkube/kube-apiserver', true, 'overlap'],
    ['bootkube/kube-scheduler', false, 'overlap'],
    ['bootkube/pod-checkpointer', false, 'exclusive'],
  ])('%s has a copy that the kubelet takes', (name, servesApi, handBack) => {
    const pod = read(name) as V1Pod;
    expect(isMarked(pod)).toBe(true);
    const outcome = makeCopy(pod, lookup, policy);
    expectGolden(`${CORPUS}${name}.golden.json`, readable(outcome));
    if (outcome.kind !== 'copy') throw new Error(`expected a copy of ${name}`);
    const { copy } = outcome;
    expect(copy.traits).toEqual({ servesApi, handBack });
    const active = materialize(copy.pod, {
      generationDir: '/var/lib/pod-checkpointer/x/1',
      generation: 1,
      activation: 1,
    });
    expect(violations(active, 'master-1')).toEqual([]);
    expect(parseActiveManifest(manifestBytes(active))?.activation).toBe(1);
    expect(isMarked(active)).toBe(false);
    expect(objectReferences(active)).toEqual([]);
  });

  it('bootkube/kube-controller-manager, which takes a token of its service account, has none, and is told why', () => {
    const outcome = makeCopy(read('bootkube/kube-controller-manager') as V1Pod, lookup, policy);
    expectGolden(`${CORPUS}bootkube/kube-controller-manager.golden.json`, readable(outcome));
    expect(outcome.kind === 'refused' && outcome.refusals.map((r) => r.field)).toEqual([
      'spec.volumes[3].projected.sources[0].serviceAccountToken',
    ]);
  });

  it('has the same copy after its pods were made anew', () => {
    const pod = read('kubeadm-1.36/kube-apiserver') as V1Pod;
    const anew = { ...pod, metadata: { ...pod.metadata, name: 'kube-apiserver-zzzzz', uid: 'new', resourceVersion: '5000' } };
    expect(makeCopy(anew, lookup, policy)).toEqual(makeCopy(pod, lookup, policy));
  });
});
