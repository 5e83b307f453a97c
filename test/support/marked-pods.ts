/** A marked pod of a DaemonSet as the API server returns it, and objects to look up. */
import type { V1ConfigMap, V1Container, V1EnvVar, V1Pod, V1PodSpec, V1Secret, V1Service } from '@kubernetes/client-node';
import { CHECKPOINT } from '../../src/checkpoint/annotations.ts';
import { makeCopy } from '../../src/checkpoint/copy.ts';
import type { Copy, CopyPolicy, ObjectLookup, ObjectState, Refusal } from '../../src/checkpoint/copy-types.ts';

export const NAMESPACE = 'kube-system';

export function markedPod(spec: Partial<V1PodSpec> = {}, metadata: V1Pod['metadata'] = {}): V1Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'proxy-x7k2f',
      namespace: NAMESPACE,
      uid: '5b1f8c1e-0000-4000-8000-000000000001',
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'proxy', uid: 'ds', controller: true }],
      ...metadata,
      annotations: { [CHECKPOINT]: 'true', ...metadata.annotations },
    },
    spec: { nodeName: 'master-1', restartPolicy: 'Always', containers: [container()], ...spec },
    status: { hostIP: '10.0.0.1', hostIPs: [{ ip: '10.0.0.1' }], podIP: '10.0.0.1', podIPs: [{ ip: '10.0.0.1' }] },
  };
}

export function container(fields: Partial<V1Container> = {}): V1Container {
  return { name: 'proxy', image: 'registry.example.org/proxy:1', ...fields };
}

export type Objects = Readonly<Record<string, V1Secret | V1ConfigMap | 'absent' | 'unknown'>>;

/** The Service of the API server, which is there in every cluster, and the variables that the kubelet makes of it. */
export const SERVICE: V1Service = { spec: { clusterIP: '10.96.0.1', ports: [{ name: 'https', port: 443 }] } };
export const SERVICE_ENV: V1EnvVar[] = [
  { name: 'KUBERNETES_SERVICE_HOST', value: '10.96.0.1' },
  { name: 'KUBERNETES_SERVICE_PORT', value: '443' },
];

/** A container's variables, if there are any beside those. */
export function withoutService(env: readonly V1EnvVar[] | undefined): V1EnvVar[] | undefined {
  const others = env?.filter(({ name, value }) => !SERVICE_ENV.some((of) => of.name === name && of.value === value));
  return others?.length === 0 ? undefined : others;
}

/** Objects by `Kind/name`; those that are not named are absent, except that Service. */
export function lookupIn(objects: Objects): ObjectLookup {
  return (ref): ObjectState<V1Secret | V1ConfigMap | V1Service> => {
    if (ref.kind === 'Service') return { state: 'present', object: SERVICE };
    const object = ref.namespace === NAMESPACE ? objects[`${ref.kind}/${ref.name}`] : undefined;
    if (object === undefined || object === 'absent') return { state: 'absent' };
    return object === 'unknown' ? { state: 'unknown', detail: 'not read yet' } : { state: 'present', object };
  };
}

export function secret(data: Readonly<Record<string, string | Uint8Array>>): V1Secret {
  return { data: Object.fromEntries(Object.entries(data).map(([key, value]) => [key, Buffer.from(value).toString('base64')])) };
}

export function configMap(data: Readonly<Record<string, string>>, binaryData: Readonly<Record<string, Uint8Array>> = {}): V1ConfigMap {
  return {
    data: { ...data },
    binaryData: Object.fromEntries(Object.entries(binaryData).map(([k, v]) => [k, Buffer.from(v).toString('base64')])),
  };
}

export const REFUSE: CopyPolicy = { secretEnv: 'refuse' };

/** The copy, or an error that says why there is none. */
export function copyOf(pod: V1Pod, objects: Objects = {}, policy: CopyPolicy = REFUSE): Copy {
  const outcome = makeCopy(pod, lookupIn(objects), policy);
  if (outcome.kind !== 'copy') throw new Error(`no copy: ${JSON.stringify(outcome)}`);
  return outcome.copy;
}

export function refusalsOf(pod: V1Pod, objects: Objects = {}, policy: CopyPolicy = REFUSE): readonly Refusal[] {
  const outcome = makeCopy(pod, lookupIn(objects), policy);
  return outcome.kind === 'refused' ? outcome.refusals : [];
}

export function firstContainer(pod: V1Pod): V1Container {
  const first = pod.spec?.containers[0];
  if (first === undefined) throw new Error('the pod has no containers');
  return first;
}

/** The files of a copy as text, by path. */
export function filesOf(copy: Copy): Record<string, string> {
  return Object.fromEntries(copy.files.map((file) => [file.path, Buffer.from(file.bytes).toString('utf8')]));
}
