/**
 * The copy of a pod (design §4): a static pod that names no API object, and every file it mounts, rendered as the kubelet would have
 * rendered it for the parent. Pure: the same parent, objects and policy give the same bytes.
 */
import type { V1Container, V1Pod, V1PodSpec } from '@kubernetes/client-node';
import { CHECKPOINT_OF, OMIT_INIT_CONTAINERS, WORKLOAD } from './annotations.ts';
import { canonical, digestOf, instanceOf } from './copy/canonical.ts';
import { renderEnvironment } from './copy/environment.ts';
import { renderHostname } from './copy/hostname.ts';
import { withoutOmitted } from './copy/omitted.ts';
import { withNumberedPorts } from './copy/ports.ts';
import { type Change, change, type Rendering, refuse } from './copy/rendering.ts';
import { traitsOf } from './copy/traits.ts';
import { withStableVolumeNames } from './copy/volume-names.ts';
import { renderVolumes } from './copy/volumes.ts';
import { warningsAnnotation, warnOfLosses } from './copy/warnings.ts';
import type { CopyPolicy, ObjectLookup, Warning } from './copy-types.ts';
import type { CopyOutcome } from './model.ts';
import { isCopy, isStatic } from './selection.ts';
import { violations } from './static-pod-rules.ts';
import { copyBaseName, type Workload, workloadKey, workloadOf } from './workload.ts';

/**
 * What the copy's pod does not carry: references to API objects, what belongs to scheduling (the kubelet's static pods are not scheduled),
 * what only a controller could fulfil (readiness gates), and what ends a pod that is meant to stay (`activeDeadlineSeconds`).
 * A runtime class is an API object; its overhead goes with it.
 */
const REMOVED = {
  serviceAccountName: 'a static pod may not refer to a service account',
  serviceAccount: 'a static pod may not refer to a service account',
  imagePullSecrets: 'a static pod may not refer to a Secret',
  nodeName: 'a static pod is where its manifest is',
  nodeSelector: 'a static pod is not scheduled',
  affinity: 'a static pod is not scheduled',
  topologySpreadConstraints: 'a static pod is not scheduled',
  schedulingGates: 'a static pod is not scheduled',
  schedulingGroup: 'a static pod is not scheduled',
  schedulerName: 'a static pod is not scheduled',
  runtimeClassName: 'a RuntimeClass is an object of the API',
  overhead: 'it belongs to the RuntimeClass',
  readinessGates: 'only a controller could fulfil them',
  ephemeralContainers: 'a new pod may not have them',
  activeDeadlineSeconds: 'the copy runs for as long as it is needed',
} as const satisfies Partial<Record<keyof V1PodSpec, string>>;

/**
 * Makes the copy of a marked pod, as the API server returned it. Refused with every reason at once; `waiting` when nothing speaks against
 * a copy and objects that it needs are absent or unknown. Throws for a pod without metadata.name or metadata.namespace.
 */
export function makeCopy(parent: V1Pod, lookup: ObjectLookup, policy: CopyPolicy): CopyOutcome {
  return explainCopy(parent, lookup, policy).outcome;
}

export interface ExplainedCopy {
  readonly outcome: CopyOutcome;
  /** What the copy has otherwise than its parent, and why. */
  readonly changes: readonly Change[];
  /** In what the copy may do otherwise than its parent: also in the copy's pod (`warningsOf`). */
  readonly warnings: readonly Warning[];
}

/** makeCopy, with every change that was made and every warning. */
export function explainCopy(parent: V1Pod, lookup: ObjectLookup, policy: CopyPolicy): ExplainedCopy {
  const workload = workloadOf(parent);
  const omitted = withoutOmitted(parent);
  const r: Rendering = {
    parent: withStableVolumeNames(omitted.pod),
    namespace: workload.namespace,
    policy,
    lookup,
    refusals: [],
    warnings: [],
    waiting: new Set(),
    denied: new Set(),
    changes: [],
    ofOnePod: { files: new Set(), directories: new Set(), variables: new Set(), spec: new Set(), tokens: [] },
  };
  for (const name of omitted.names) change(r, 'spec.initContainers', `${name} is left out: ${OMIT_INIT_CONTAINERS} names it`);
  return { outcome: render(r, omitted.pod, workload), changes: r.changes, warnings: r.warnings };
}

function render(r: Rendering, given: V1Pod, workload: Workload): CopyOutcome {
  const { parent } = r;
  refuseWhole(r);
  explainVolumeName(r, given);
  const containers = [...(parent.spec?.initContainers ?? []), ...(parent.spec?.containers ?? [])];
  const { volumes, readOnly, files, directories } = renderVolumes(r, containers);
  const metadata = metadataOf(r, workload);
  warnOfLosses(r, new Set(directories.map(({ path }) => path)));
  const pod: V1Pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata,
    spec: {
      ...keptSpec(r),
      ...renderHostname(r),
      automountServiceAccountToken: false,
      tolerations: [{ operator: 'Exists' }],
      ...(parent.spec?.volumes && { volumes: [...volumes] }),
      containers: renderContainers(r, parent.spec?.containers ?? [], 'spec.containers', readOnly),
      ...(parent.spec?.initContainers && {
        initContainers: renderContainers(r, parent.spec.initContainers, 'spec.initContainers', readOnly),
      }),
    },
  };
  metadata.annotations = { ...metadata.annotations, ...warningsAnnotation(r.warnings) };
  if (r.refusals.length === 0) checkRules(r, pod);
  if (r.refusals.length > 0) return { kind: 'refused', refusals: r.refusals };
  if (r.waiting.size > 0)
    return { kind: 'waiting', objects: [...r.waiting].sort(), ...(r.denied.size > 0 && { denied: [...r.denied].sort() }) };
  const traits = traitsOf(parent);
  // The canonical form is a copy of its own: nothing of the parent is shared with it.
  const own = canonical(pod) as V1Pod;
  const instance = instanceOf(pod, files, r.ofOnePod);
  const digest = digestOf(pod, files, directories, traits, r.ofOnePod);
  return { kind: 'copy', copy: { digest, ...(instance && { instance }), pod: own, files, directories, traits } };
}

/** That the pod's own token has another volume name than in the pod as it was given. */
function explainVolumeName(r: Rendering, given: V1Pod): void {
  given.spec?.volumes?.forEach(({ name }, i) => {
    if (r.parent.spec?.volumes?.[i]?.name !== name)
      change(r, `spec.volumes[${i}].name`, 'the same in every copy: the API server made it up for this pod');
  });
}

/** Our annotations name the workload, not the pod: a new pod of an unchanged workload has the same copy. */
function metadataOf(r: Rendering, workload: Workload): NonNullable<V1Pod['metadata']> {
  const labels = r.parent.metadata?.labels;
  change(r, 'metadata', 'name, namespace and labels are kept, the name is that of the workload; the annotations are ours');
  return {
    name: copyBaseName(workload),
    namespace: workload.namespace,
    ...(labels && { labels }),
    annotations: { [CHECKPOINT_OF]: workload.name, [WORKLOAD]: workloadKey(workload) },
  };
}

function keptSpec(r: Rendering): Partial<V1PodSpec> {
  const spec: Partial<V1PodSpec> = { ...r.parent.spec };
  for (const [field, why] of Object.entries(REMOVED) as [keyof typeof REMOVED, string][]) {
    if (spec[field] !== undefined) change(r, `spec.${field}`, `removed: ${why}`);
    delete spec[field];
  }
  change(r, 'spec.tolerations', 'every taint is tolerated');
  if (spec.automountServiceAccountToken !== false)
    change(r, 'spec.automountServiceAccountToken', 'false: nothing mounts a token into a static pod');
  return spec;
}

function renderContainers(r: Rendering, containers: readonly V1Container[], list: string, readOnly: ReadonlySet<string>): V1Container[] {
  const hostNetwork = r.parent.spec?.hostNetwork === true;
  return containers.map((parent, i) => {
    const field = `${list}[${i}]`;
    const container: V1Container = { ...withNumberedPorts(parent), imagePullPolicy: 'IfNotPresent' };
    if (parent.imagePullPolicy !== 'IfNotPresent')
      change(r, `${field}.imagePullPolicy`, 'IfNotPresent: the registry may not be reachable when the node stands alone');
    for (const kind of ['livenessProbe', 'readinessProbe', 'startupProbe', 'lifecycle'] as const)
      if (JSON.stringify(container[kind]) !== JSON.stringify(parent[kind]))
        change(r, `${field}.${kind}`, 'the name of a port is its number');
    // Two pods that declare one host port: the kubelet fails the later one, the parent, at admission.
    if (hostNetwork) {
      if (parent.ports !== undefined)
        change(
          r,
          `${field}.ports`,
          "removed: the kubelet would not admit the parent beside a copy with its ports; probes get a port's number",
        );
      delete container.ports;
    } else refuseHostPorts(r, parent, field);
    if ((parent.resources?.claims ?? []).length > 0) refuseClaims(r, `${field}.resources.claims`);
    const env = renderEnvironment(r, parent, field);
    delete container.envFrom;
    delete container.env;
    if (env.length > 0) container.env = env;
    if (parent.volumeMounts)
      container.volumeMounts = parent.volumeMounts.map((mount) => (readOnly.has(mount.name) ? { ...mount, readOnly: true } : mount));
    return container;
  });
}

/**
 * A host port without the host's network is made by the network plugin, for the pod that declares it. The copy would have to declare it to
 * be of use, and then the kubelet fails every new parent at admission: it could never take over again.
 */
function refuseHostPorts(r: Rendering, container: V1Container, field: string): void {
  container.ports?.forEach((port, i) => {
    if (port.hostPort === undefined || port.hostPort === 0) return;
    const why = 'While the copy holds this port the kubelet admits no other pod with it, so the copy could not be replaced.';
    refuse(r, 'HostPort', `${field}.ports[${i}].hostPort`, `${why} Use hostNetwork: true, or no hostPort.`);
  });
}

function refuseClaims(r: Rendering, field: string): void {
  refuse(r, 'ResourceClaim', field, 'Devices are allocated through the API server. Take the claim out, or do not mark the pod.');
}

/** Reasons that concern the pod as a whole. */
function refuseWhole(r: Rendering): void {
  const { metadata, spec } = r.parent;
  if (isStatic(r.parent))
    refuse(r, 'StaticPod', 'metadata.annotations', 'A static pod has its manifest on the node already. Take the mark from its manifest.');
  if (isCopy(r.parent)) refuse(r, 'CopyOfCopy', 'metadata.annotations', `"${metadata?.name}" is a copy itself. Mark its parent.`);
  if (spec === undefined || (spec.containers ?? []).length === 0)
    refuse(r, 'NoContainers', 'spec.containers', 'The pod has no containers: this is not a pod as the API server returns it.');
  // The kubelet runs a static pod anew after each boot: a job that has ended would be done again.
  if (spec?.restartPolicy !== undefined && spec.restartPolicy !== 'Always')
    refuse(r, 'RestartPolicy', 'spec.restartPolicy', `A copy keeps its pod running; "${spec.restartPolicy}" lets it end. Use Always.`);
  if ((spec?.resourceClaims ?? []).length > 0) refuseClaims(r, 'spec.resourceClaims');
}

function checkRules(r: Rendering, pod: V1Pod): void {
  for (const { field, message } of violations(pod, r.parent.spec?.nodeName)) refuse(r, 'KubeletWouldRefuse', field, message);
}
