import { describe, expect, it } from 'vitest';
import { ACTIVATION, GENERATION, WORKLOAD } from '../../src/checkpoint/annotations.ts';
import { activated, manifestBytes, materialize, parseActiveManifest } from '../../src/checkpoint/materialize.ts';
import { violations } from '../../src/checkpoint/static-pod-rules.ts';
import { copyOf, markedPod, secret } from '../support/marked-pods.ts';

const volumes = [
  { name: 'a', secret: { secretName: 's' } },
  { name: 'b', hostPath: { path: '/etc/kubernetes/pki' } },
];
const copy = copyOf(markedPod({ volumes }), { 'Secret/s': secret({ k: 'v' }) });
const place = { generationDir: '/var/lib/pod-checkpointer/w/7', generation: 7 };

describe('a copy in its place', () => {
  it('has a name of its own for each generation and activation', () => {
    expect(materialize(copy.pod, { ...place, activation: 3 }).metadata?.name).toBe('proxy-ds-g7-a3');
    expect(materialize(copy.pod, place).metadata?.name).toBe('proxy-ds-g7');
  });

  it('is activated alike at once and later, from what is stored', () => {
    expect(activated(materialize(copy.pod, place), 3)).toEqual(materialize(copy.pod, { ...place, activation: 3 }));
  });

  it('mounts the files of its generation, and what lies elsewhere on the host as before', () => {
    const paths = materialize(copy.pod, place).spec?.volumes?.map((v) => v.hostPath?.path);
    expect(paths).toEqual(['/var/lib/pod-checkpointer/w/7/files/a', '/etc/kubernetes/pki']);
  });

  it('says which copy it is', () => {
    expect(materialize(copy.pod, { ...place, activation: 3 }).metadata?.annotations).toMatchObject({
      [WORKLOAD]: 'kube-system/DaemonSet/proxy',
      [GENERATION]: '7',
      [ACTIVATION]: '3',
    });
  });

  it('leaves the copy itself as it was, and is a pod that the kubelet takes', () => {
    const before = JSON.stringify(copy.pod);
    const pod = materialize(copy.pod, { ...place, activation: 3 });
    expect(violations(pod, 'master-1')).toEqual([]);
    expect(JSON.stringify(copy.pod)).toBe(before);
  });

  it('needs an absolute directory', () => {
    expect(() => materialize(copy.pod, { ...place, generationDir: 'w/7' })).toThrow('"w/7": expected an absolute path');
  });
});

describe('the manifest', () => {
  const bytes = manifestBytes(materialize(copy.pod, { ...place, activation: 3 }));

  it('is indented JSON with a line end, the same for the same pod', () => {
    const text = bytes.toString('utf8');
    expect(text).toMatch(/^\{\n {2}"apiVersion": "v1",\n {2}"kind": "Pod",\n {2}"metadata": \{\n/);
    expect(text.endsWith('}\n')).toBe(true);
    const { spec, metadata, kind, apiVersion } = materialize(copy.pod, { ...place, activation: 3 });
    expect(manifestBytes({ ...(spec && { spec }), ...(metadata && { metadata }), kind: kind ?? '', apiVersion: apiVersion ?? '' })).toEqual(
      bytes,
    );
  });

  it('says which copy it is', () => {
    expect(parseActiveManifest(bytes)).toEqual({
      workload: 'kube-system/DaemonSet/proxy',
      generation: 7,
      activation: 3,
    });
  });

  const changed = (annotations: Record<string, string | undefined>) => {
    const pod = materialize(copy.pod, { ...place, activation: 3 });
    const merged = Object.entries({ ...pod.metadata?.annotations, ...annotations }).filter(
      (e): e is [string, string] => e[1] !== undefined,
    );
    return manifestBytes({ ...pod, metadata: { ...pod.metadata, annotations: Object.fromEntries(merged) } });
  };
  it.each<[string, Uint8Array]>([
    ['nothing', new Uint8Array()],
    ['half a file', bytes.subarray(0, bytes.length / 2)],
    ['YAML', Buffer.from('apiVersion: v1\nkind: Pod\n')],
    ['bytes that are not text', new Uint8Array([0xff, 0xfe, 0])],
    ['null', Buffer.from('null')],
    ['a list', Buffer.from('[]')],
    ['a number for annotations', Buffer.from('{"metadata":{"annotations":1}}')],
    ['annotations that are not strings', Buffer.from(JSON.stringify({ metadata: { annotations: { [WORKLOAD]: 1, [GENERATION]: 1 } } }))],
    ['someone else’s static pod', manifestBytes({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'etcd', annotations: { a: 'b' } } })],
    ['a generation that is not a number', changed({ [GENERATION]: '7x' })],
    ['generation 0', changed({ [GENERATION]: '0' })],
    ['a copy that was not activated', manifestBytes(materialize(copy.pod, place))],
    ['no workload', changed({ [WORKLOAD]: undefined })],
  ])('of a copy is not %s', (_, other) => {
    expect(parseActiveManifest(other)).toBeUndefined();
  });
});
