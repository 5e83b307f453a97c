/** The resources that the embedded API server stores. */
export interface Resource {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: string;
  readonly namespaced: boolean;
  readonly subresources: readonly string[];
  readonly shortNames: readonly string[];
  /** Whether metadata.generation counts the changes of the spec. */
  readonly counted: boolean;
}

function resource(
  groupVersion: string,
  plural: string,
  kind: string,
  options: { cluster?: true; sub?: string[]; short?: string[]; counted?: true } = {},
): Resource {
  const [group, version] = groupVersion.includes('/') ? groupVersion.split('/') : ['', groupVersion];
  return {
    group: group ?? '',
    version: version ?? '',
    plural,
    kind,
    namespaced: options.cluster !== true,
    subresources: options.sub ?? [],
    shortNames: options.short ?? [],
    counted: options.counted === true,
  };
}

export const RESOURCES: readonly Resource[] = [
  resource('v1', 'namespaces', 'Namespace', { cluster: true, short: ['ns'], sub: ['status'] }),
  resource('v1', 'nodes', 'Node', { cluster: true, short: ['no'], sub: ['status'] }),
  resource('v1', 'pods', 'Pod', { short: ['po'], sub: ['status', 'binding', 'eviction'], counted: true }),
  resource('v1', 'secrets', 'Secret'),
  resource('v1', 'configmaps', 'ConfigMap', { short: ['cm'] }),
  resource('v1', 'events', 'Event', { short: ['ev'] }),
  resource('v1', 'serviceaccounts', 'ServiceAccount', { short: ['sa'], sub: ['token'] }),
  resource('v1', 'services', 'Service', { short: ['svc'], sub: ['status'] }),
  resource('v1', 'persistentvolumes', 'PersistentVolume', { cluster: true, short: ['pv'], sub: ['status'] }),
  resource('v1', 'persistentvolumeclaims', 'PersistentVolumeClaim', { short: ['pvc'], sub: ['status'] }),
  resource('apps/v1', 'daemonsets', 'DaemonSet', { short: ['ds'], sub: ['status'], counted: true }),
  resource('apps/v1', 'deployments', 'Deployment', { short: ['deploy'], sub: ['status'], counted: true }),
  resource('apps/v1', 'replicasets', 'ReplicaSet', { short: ['rs'], sub: ['status'], counted: true }),
  resource('apps/v1', 'statefulsets', 'StatefulSet', { short: ['sts'], sub: ['status'], counted: true }),
  resource('apps/v1', 'controllerrevisions', 'ControllerRevision'),
  resource('coordination.k8s.io/v1', 'leases', 'Lease'),
];

export function findResource(group: string, version: string, plural: string): Resource | undefined {
  return RESOURCES.find((r) => r.group === group && r.version === version && r.plural === plural);
}

/** A resource of the table above, by the name that errors use: `pods`, `daemonsets.apps`. */
export function resourceNamed(name: string): Resource {
  const found = RESOURCES.find((r) => name === (r.group === '' ? r.plural : `${r.plural}.${r.group}`));
  if (found === undefined) throw new Error(`no resource ${name} in the embedded API server's table`);
  return found;
}

export function apiVersionOf(r: Resource): string {
  return r.group === '' ? r.version : `${r.group}/${r.version}`;
}
