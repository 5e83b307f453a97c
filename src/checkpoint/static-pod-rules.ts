/**
 * What the kubelet refuses in a static pod, checked before a copy is stored: after a reboot it would be too late. The rules are those of
 * Kubernetes 1.36: no reference to an API object (`PreventStaticPodAPIReferences`, on since 1.34), and what its validation of a new pod
 * says about names, volumes, mounts, ports and fields that a static pod cannot have.
 */
import type { V1Container, V1Pod, V1Volume } from '@kubernetes/client-node';

export interface Violation {
  /** Path of the field in the pod. */
  readonly field: string;
  readonly message: string;
}

/** Room for `-g<generation>-a<activation>` behind a copy's name: six digits each. */
const SUFFIX_ROOM = '-g999999-a999999'.length;
const MAX_NAME = 253;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

/** Every rule that the pod breaks; none means that the kubelet of this node takes it. The node's name becomes part of the pod's. */
export function violations(pod: V1Pod, nodeName = ''): Violation[] {
  return [...identity(pod, nodeName), ...references(pod), ...structure(pod)];
}

function* identity(pod: V1Pod, nodeName: string): Generator<Violation> {
  if (pod.apiVersion !== 'v1' || pod.kind !== 'Pod') yield { field: 'kind', message: 'Expected apiVersion v1 and kind Pod.' };
  const { name = '', namespace = '' } = pod.metadata ?? {};
  const whole = nodeName === '' ? name : `${name}-${nodeName.toLowerCase()}`;
  if (name === '' || !SUBDOMAIN.test(whole))
    yield { field: 'metadata.name', message: `"${whole}" is not a DNS subdomain, which the name of a pod has to be.` };
  if (whole.length + SUFFIX_ROOM > MAX_NAME)
    yield { field: 'metadata.name', message: `"${whole}" is longer than ${MAX_NAME - SUFFIX_ROOM} characters, the node's name included.` };
  if (namespace.length > 63 || !LABEL.test(namespace))
    yield { field: 'metadata.namespace', message: `"${namespace}" is not the name of a namespace. A static pod has to name its own.` };
}

/** References to API objects. The kubelet looks into volumes, variables and pull secrets alike. */
function* references(pod: V1Pod): Generator<Violation> {
  const spec = pod.spec;
  const reference = (field: string): Violation => ({ field, message: 'A static pod may not refer to an API object.' });
  if (spec?.serviceAccountName) yield reference('spec.serviceAccountName');
  if (spec?.serviceAccount) yield reference('spec.serviceAccount');
  if (spec?.imagePullSecrets?.length) yield reference('spec.imagePullSecrets');
  if (spec?.resourceClaims?.length) yield reference('spec.resourceClaims');
  for (const [i, volume] of (spec?.volumes ?? []).entries()) {
    for (const path of referencesOfVolume(volume)) yield reference(`spec.volumes[${i}].${path}`);
  }
  for (const { container, field } of containersOf(pod)) {
    if (container.resources?.claims?.length) yield reference(`${field}.resources.claims`);
    for (const [i, source] of (container.envFrom ?? []).entries()) {
      if (source.secretRef) yield reference(`${field}.envFrom[${i}].secretRef`);
      if (source.configMapRef) yield reference(`${field}.envFrom[${i}].configMapRef`);
    }
    for (const [i, { valueFrom }] of (container.env ?? []).entries()) {
      if (valueFrom?.secretKeyRef) yield reference(`${field}.env[${i}].valueFrom.secretKeyRef`);
      if (valueFrom?.configMapKeyRef) yield reference(`${field}.env[${i}].valueFrom.configMapKeyRef`);
    }
  }
}

const REFERRING_VOLUMES = ['secret', 'configMap', 'persistentVolumeClaim', 'csi', 'ephemeral', 'glusterfs', 'azureFile'] as const;
const VOLUMES_WITH_SECRET = ['cephfs', 'cinder', 'flexVolume', 'iscsi', 'rbd', 'scaleIO', 'storageos'] as const;

function* referencesOfVolume(volume: V1Volume): Generator<string> {
  for (const kind of REFERRING_VOLUMES) if (volume[kind]) yield kind;
  for (const kind of VOLUMES_WITH_SECRET) if (volume[kind]?.secretRef) yield `${kind}.secretRef`;
  for (const [i, source] of (volume.projected?.sources ?? []).entries()) {
    for (const [kind, value] of Object.entries(source)) {
      if (kind !== 'downwardAPI' && value !== undefined) yield `projected.sources[${i}].${kind}`;
    }
  }
}

/** Mistakes in the pod's own parts that the kubelet's validation finds. */
function* structure(pod: V1Pod): Generator<Violation> {
  const spec = pod.spec;
  if (!spec?.containers?.length) yield { field: 'spec.containers', message: 'At least one container is needed.' };
  if (spec?.ephemeralContainers?.length)
    yield { field: 'spec.ephemeralContainers', message: 'A new pod may not have ephemeral containers.' };
  if (spec?.schedulingGates?.length) yield { field: 'spec.schedulingGates', message: 'A pod on a node may not have scheduling gates.' };
  for (const field of ['hostname', 'subdomain'] as const) {
    const label = spec?.[field];
    if (label && (label.length > 63 || !LABEL.test(label))) yield { field: `spec.${field}`, message: `"${label}" is not a DNS label.` };
  }
  yield* volumeNames(spec?.volumes ?? []);
  const names = new Set<string>();
  for (const { container, field } of containersOf(pod)) {
    if (container.name.length > 63 || !LABEL.test(container.name) || names.has(container.name))
      yield { field: `${field}.name`, message: `"${container.name}" is not a DNS label used by this container alone.` };
    names.add(container.name);
    if (!container.image) yield { field: `${field}.image`, message: 'A container needs an image.' };
    yield* variables(container, field);
    yield* mounts(container, field, new Set((spec?.volumes ?? []).map((volume) => volume.name)));
  }
  yield* hostPorts(pod);
}

function* volumeNames(volumes: readonly V1Volume[]): Generator<Violation> {
  const names = new Set<string>();
  for (const [i, volume] of volumes.entries()) {
    const field = `spec.volumes[${i}]`;
    if (volume.name.length > 63 || !LABEL.test(volume.name) || names.has(volume.name))
      yield { field: `${field}.name`, message: `"${volume.name}" is not a DNS label used by this volume alone.` };
    names.add(volume.name);
    const sources = Object.entries(volume).filter(([kind, source]) => kind !== 'name' && source !== undefined);
    if (sources.length > 1) yield { field, message: 'A volume may have one source only.' };
    if (volume.hostPath && (volume.hostPath.path === '' || volume.hostPath.path.split('/').includes('..')))
      yield { field: `${field}.hostPath.path`, message: 'A path of the host is needed, without "..".' };
  }
}

function* variables(container: V1Container, field: string): Generator<Violation> {
  for (const [i, variable] of (container.env ?? []).entries()) {
    if (!/^[ -<>-~]+$/.test(variable.name))
      yield { field: `${field}.env[${i}].name`, message: 'The name of a variable is printable ASCII without "=".' };
    if (variable.valueFrom && variable.value)
      yield { field: `${field}.env[${i}].valueFrom`, message: 'A variable may have a value or a source, not both.' };
  }
}

function* mounts(container: V1Container, field: string, volumes: ReadonlySet<string>): Generator<Violation> {
  const paths = new Set<string>();
  for (const [i, mount] of (container.volumeMounts ?? []).entries()) {
    const where = `${field}.volumeMounts[${i}]`;
    if (!volumes.has(mount.name)) yield { field: `${where}.name`, message: `The pod has no volume "${mount.name}".` };
    if (!mount.mountPath || paths.has(mount.mountPath))
      yield { field: `${where}.mountPath`, message: 'Each mount needs a path of its own.' };
    paths.add(mount.mountPath);
  }
}

/**
 * A host port that two containers declare with one protocol and address (init containers run one after the other, so each is looked at
 * alone), and on the host's network a host port that is not the container port.
 */
function* hostPorts(pod: V1Pod): Generator<Violation> {
  const hostNetwork = pod.spec?.hostNetwork === true;
  const together = new Set<string>();
  for (const { container, field } of containersOf(pod)) {
    const taken = field.startsWith('spec.containers') ? together : new Set<string>();
    for (const [i, port] of (container.ports ?? []).entries()) {
      if (port.hostPort === undefined || port.hostPort === 0) continue;
      const where = `${field}.ports[${i}].hostPort`;
      if (hostNetwork && port.hostPort !== port.containerPort)
        yield { field: where, message: 'On the host network a host port has to be the container port.' };
      const key = `${port.protocol ?? 'TCP'}/${port.hostIP ?? ''}/${port.hostPort}`;
      if (taken.has(key)) yield { field: where, message: `Host port ${port.hostPort} is declared twice.` };
      taken.add(key);
    }
  }
}

function* containersOf(pod: V1Pod): Generator<{ readonly container: V1Container; readonly field: string }> {
  for (const [i, container] of (pod.spec?.initContainers ?? []).entries()) yield { container, field: `spec.initContainers[${i}]` };
  for (const [i, container] of (pod.spec?.containers ?? []).entries()) yield { container, field: `spec.containers[${i}]` };
}
