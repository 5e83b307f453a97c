/** A container's environment and command line (pkg/kubelet/kubelet_pods.go, third_party/forked/golang/expansion). */
import type { V1Container, V1ObjectFieldSelector } from '@kubernetes/client-node';
import type { Pod } from './pod.ts';

/** An object that a pod names. `undefined` data: the API server says that there is none. */
export interface ObjectReader {
  /** Values decoded. @throws when it cannot be known now. */
  secret(namespace: string, name: string): Promise<ReadonlyMap<string, Buffer> | undefined>;
  configMap(namespace: string, name: string): Promise<ReadonlyMap<string, Buffer> | undefined>;
  /** A token of the pod's service account that is bound to the pod; the same one until most of its life is over. */
  token(pod: Pod, request: TokenRequest): Promise<string>;
}

export interface TokenRequest {
  /** The API server's own where it is undefined. */
  readonly audience: string | undefined;
  readonly expirationSeconds: number;
}

export interface PodFacts {
  readonly hostIP: string;
  readonly podIP: string;
}

export interface EnvVar {
  readonly key: string;
  readonly value: string;
}

/**
 * The variables of the services come last and lose against the pod's own.
 * @throws when an object or a key that is not optional is missing or cannot be read now: the container waits with CreateContainerConfigError.
 */
export async function environmentOf(
  pod: Pod,
  container: V1Container,
  facts: PodFacts,
  services: ReadonlyMap<string, string>,
  objects: ObjectReader,
): Promise<EnvVar[]> {
  const variables = new Map<string, string>();
  const { namespace } = pod.metadata;
  for (const source of container.envFrom ?? []) {
    const [kind, reference] =
      source.configMapRef === undefined ? (['Secret', source.secretRef] as const) : (['ConfigMap', source.configMapRef] as const);
    if (reference === undefined) continue;
    const data = await read(objects, kind, namespace, reference.name ?? '', reference.optional === true);
    for (const [key, value] of data ?? []) variables.set(`${source.prefix ?? ''}${key}`, value.toString('utf8'));
  }
  const lookup = (name: string) => variables.get(name) ?? services.get(name);
  for (const { name, value, valueFrom } of container.env ?? []) {
    if (value !== undefined && value !== '') variables.set(name, expand(value, lookup));
    else if (valueFrom?.fieldRef !== undefined) variables.set(name, fieldValue(pod, valueFrom.fieldRef, facts));
    else if (valueFrom?.configMapKeyRef !== undefined || valueFrom?.secretKeyRef !== undefined) {
      const [kind, reference] =
        valueFrom.configMapKeyRef === undefined
          ? (['Secret', valueFrom.secretKeyRef] as const)
          : (['ConfigMap', valueFrom.configMapKeyRef] as const);
      if (reference === undefined) continue;
      const optional = reference.optional === true;
      const data = await read(objects, kind, namespace, reference.name ?? '', optional);
      const found = data?.get(reference.key);
      if (found === undefined && !optional) throw new Error(`couldn't find key ${reference.key} in ${kind} ${namespace}/${reference.name}`);
      if (found !== undefined) variables.set(name, found.toString('utf8'));
    } else variables.set(name, '');
  }
  return [...new Map([...services, ...variables])].map(([key, text]) => ({ key, value: text }));
}

async function read(objects: ObjectReader, kind: 'Secret' | 'ConfigMap', namespace: string, name: string, optional: boolean) {
  const data = kind === 'Secret' ? await objects.secret(namespace, name) : await objects.configMap(namespace, name);
  if (data === undefined && !optional) throw new Error(`${kind.toLowerCase()} "${name}" not found`);
  return data;
}

/** `$(NAME)` becomes the variable's value, `$$(NAME)` stays as `$(NAME)`, a name that there is not stays as it is written. */
export function expand(text: string, lookup: (name: string) => string | undefined): string {
  return text.replace(/\$\$|\$\(([^()]*)\)/g, (whole, name: string | undefined) => (name === undefined ? '$' : (lookup(name) ?? whole)));
}

/** @throws for a field that the downward API does not have. */
export function fieldValue(pod: Pod, selector: V1ObjectFieldSelector, facts: PodFacts): string {
  const { fieldPath } = selector;
  const subscript = /^metadata\.(labels|annotations)\['(.*)'\]$/.exec(fieldPath);
  if (subscript !== null) {
    const [, map, key = ''] = subscript;
    return (map === 'labels' ? pod.metadata.labels : pod.metadata.annotations)?.[key] ?? '';
  }
  switch (fieldPath) {
    case 'metadata.name':
      return pod.metadata.name;
    case 'metadata.namespace':
      return pod.metadata.namespace;
    case 'metadata.uid':
      return pod.metadata.uid;
    case 'metadata.labels':
      return formatMap(pod.metadata.labels);
    case 'metadata.annotations':
      return formatMap(pod.metadata.annotations);
    case 'spec.nodeName':
      return pod.spec.nodeName ?? '';
    case 'spec.serviceAccountName':
      return pod.spec.serviceAccountName ?? '';
    case 'status.hostIP':
    case 'status.hostIPs':
      return facts.hostIP;
    case 'status.podIP':
    case 'status.podIPs':
      return facts.podIP;
    default:
      throw new Error(`unsupported fieldPath: ${fieldPath}`);
  }
}

/** One `key="value"` a line, sorted, the value quoted as Go quotes it. */
function formatMap(map: Readonly<Record<string, string>> | undefined): string {
  return Object.entries(map ?? {})
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
    .join('\n');
}

export interface Service {
  readonly name: string;
  readonly namespace: string;
  readonly clusterIP: string;
  readonly ports: readonly { readonly name?: string; readonly port: number }[];
}

/** A Service as the API server has it. */
export interface ServiceObject {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: { readonly clusterIP?: string; readonly ports?: Service['ports'] };
}

export function serviceOf({ metadata, spec }: ServiceObject): Service {
  return { name: metadata.name, namespace: metadata.namespace, clusterIP: spec.clusterIP ?? '', ports: spec.ports ?? [] };
}

/** The `kubernetes` service of namespace default for every pod, the services of its own namespace where enableServiceLinks asks for them. */
export function serviceVariables(pod: Pod, services: readonly Service[]): Map<string, string> {
  const variables = new Map<string, string>();
  for (const service of services) {
    if (service.clusterIP === '' || service.clusterIP === 'None') continue;
    const isMaster = service.namespace === 'default' && service.name === 'kubernetes';
    if (!isMaster && !(service.namespace === pod.metadata.namespace && pod.spec.enableServiceLinks !== false)) continue;
    const prefix = service.name.toUpperCase().replaceAll('-', '_');
    variables.set(`${prefix}_SERVICE_HOST`, service.clusterIP);
    const [first] = service.ports;
    if (first !== undefined) variables.set(`${prefix}_SERVICE_PORT`, String(first.port));
    for (const port of service.ports) {
      if (port.name !== undefined && port.name !== '')
        variables.set(`${prefix}_SERVICE_PORT_${port.name.toUpperCase().replaceAll('-', '_')}`, String(port.port));
    }
  }
  return variables;
}
