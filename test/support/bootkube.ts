/** What bootkube's pod-checkpointer writes for a pod, in the form and with the modes that its own binary writes it. */
import { chmod, mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { V1Pod } from '@kubernetes/client-node';
import { CHECKPOINT_OF } from '../../src/checkpoint/annotations.ts';

export interface Bootkube {
  /** /etc/kubernetes */
  readonly base: string;
  readonly manifests: string;
}

type Data = Readonly<Record<string, Readonly<Record<string, string>>>>;

export interface Left {
  readonly secrets?: Data;
  readonly configMaps?: Data;
  readonly active?: boolean;
  /** Default true. */
  readonly inactive?: boolean;
}

export async function leave({ base, manifests }: Bootkube, pod: V1Pod, left: Left = {}): Promise<string> {
  const { secrets = {}, configMaps = {}, active = false, inactive = true } = left;
  const { name = '', namespace = '' } = pod.metadata ?? {};
  const file = `${namespace}-${name}.json`;
  const bytes = `${JSON.stringify(sanitized(base, pod))}\n`;
  await mkdir(join(base, 'inactive-manifests'), { recursive: true, mode: 0o700 });
  if (inactive) await writeFile(join(base, 'inactive-manifests', file), bytes, { mode: 0o644 });
  for (const [directory, objects] of [
    ['checkpoint-secrets', secrets],
    ['checkpoint-configmaps', configMaps],
  ] as const)
    for (const [object, data] of Object.entries(objects)) {
      const path = join(base, directory, namespace, name, object);
      await mkdir(path, { recursive: true, mode: 0o700 });
      for (const [key, value] of Object.entries(data)) await writeFile(join(path, key), value, { mode: 0o600 });
    }
  if (active) {
    await writeFile(join(manifests, `.${file}`), bytes);
    await chmod(join(manifests, `.${file}`), 0o644);
    await rename(join(manifests, `.${file}`), join(manifests, file));
  }
  return file;
}

/** Name, namespace and labels kept, the pod as owner, its one annotation; Secrets and ConfigMaps as directories of the host. */
function sanitized(base: string, pod: V1Pod): unknown {
  const { name = '', namespace = '', uid, labels } = pod.metadata ?? {};
  const {
    serviceAccountName: _s,
    serviceAccount: _d,
    affinity: _a,
    nodeSelector: _n,
    volumes = [],
    ...spec
  } = pod.spec ?? { containers: [] };
  return {
    kind: 'Pod',
    apiVersion: 'v1',
    metadata: {
      name,
      namespace,
      creationTimestamp: null,
      labels,
      annotations: { [CHECKPOINT_OF]: name },
      ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name, uid, controller: true }],
    },
    spec: {
      volumes: volumes.map((volume) =>
        volume.secret
          ? { name: volume.name, hostPath: { path: join(base, 'checkpoint-secrets', namespace, name, volume.secret.secretName ?? '') } }
          : volume.configMap
            ? { name: volume.name, hostPath: { path: join(base, 'checkpoint-configmaps', namespace, name, volume.configMap.name ?? '') } }
            : volume,
      ),
      ...spec,
    },
    status: {},
  };
}

/** Its own pod, as its manifests have it. */
export function bootkubePod(
  name: string,
  uid: string,
  image = 'quay.io/coreos/pod-checkpointer:83e25e5968391b9eb342042c435d1b3eeddb2be1',
): V1Pod {
  return {
    metadata: {
      name,
      namespace: 'kube-system',
      uid,
      labels: { 'k8s-app': 'pod-checkpointer', 'controller-revision-hash': '57fc69576', 'pod-template-generation': '1' },
    },
    spec: {
      hostNetwork: true,
      containers: [
        {
          name: 'pod-checkpointer',
          image,
          command: ['/checkpoint', '--lock-file=/var/run/lock/pod-checkpointer.lock', '--kubeconfig=/etc/checkpointer/kubeconfig'],
        },
      ],
      volumes: [{ name: 'kubeconfig', secret: { secretName: 'checkpointer-kubeconfig' } }],
    },
  };
}
