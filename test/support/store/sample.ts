/** Copies to store: each content is a digest of its own, so that what is found in a store afterwards says which save it is of. */
import type { Copy } from '../../../src/checkpoint/copy-types.ts';
import type { Digest } from '../../../src/checkpoint/model.ts';
import type { Workload } from '../../../src/checkpoint/workload.ts';

export const SCHEDULER: Workload = { namespace: 'kube-system', group: 'apps', kind: 'DaemonSet', name: 'kube-scheduler' };
export const APISERVER: Workload = { namespace: 'kube-system', group: 'apps', kind: 'DaemonSet', name: 'kube-apiserver' };

export const PARENT = { name: 'kube-scheduler-abcde', uid: '6e1f8f0e-0000-4000-8000-000000000001' };
export const ABOUT = { parent: PARENT, createdAt: '2026-01-01T00:00:00.000Z' };

export interface Shape {
  /** Files in the volume `secrets`; one more lies in `config`. */
  readonly files?: number;
  readonly bytesEach?: number;
  readonly servesApi?: boolean;
}

export function sampleCopy(content: string, { files = 2, bytesEach = 300, servesApi = false }: Shape = {}): Copy {
  const filled = (seed: string) =>
    Buffer.from(`${content} ${seed}\n`.repeat(Math.ceil(bytesEach / (content.length + seed.length + 2)))).subarray(0, bytesEach);
  return {
    digest: content as Digest,
    pod: {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name: 'kube-scheduler-ds', namespace: 'kube-system', annotations: { content } },
      spec: {
        hostNetwork: true,
        containers: [{ name: 'main', image: 'registry.example/scheduler:1' }],
        volumes: [
          { name: 'secrets', hostPath: { path: '@generation@/files/secrets', type: 'Directory' } },
          { name: 'config', hostPath: { path: '@generation@/files/config', type: 'Directory' } },
        ],
      },
    },
    directories: [
      { path: 'secrets', mode: 0o755, uid: 0, gid: 0 },
      { path: 'config', mode: 0o2775, uid: 0, gid: 1234 },
    ],
    files: [
      ...Array.from({ length: files }, (_, number) => ({
        path: `secrets/key-${number}`,
        bytes: filled(`key ${number}`),
        mode: 0o400,
        uid: 0,
        gid: 0,
      })),
      { path: 'config/config.yaml', bytes: filled('config'), mode: 0o640, uid: 0, gid: 1234 },
    ],
    traits: { servesApi, handBack: 'exclusive' },
  };
}
