/** The hostname that containers see: the kubelet takes the pod's name where the pod sets none, and a static pod has a name of its own. */
import type { V1PodSpec } from '@kubernetes/client-node';
import { isDnsLabel } from './paths.ts';
import { change, type Rendering } from './rendering.ts';
import { warn } from './warnings.ts';

/** Linux' limit (HOST_NAME_MAX less one, as the kubelet has it). */
const MAX_HOSTNAME = 63;

/** The parent's hostname where it is not in its spec. It belongs to the one pod. On the host's network it is the node's, for the copy as well. */
export function renderHostname(r: Rendering): Pick<V1PodSpec, 'hostname'> {
  const { spec, metadata } = r.parent;
  if (spec?.hostNetwork === true || spec?.hostname || spec?.hostnameOverride) return {};
  const hostname = truncated(metadata?.name ?? '');
  if (!isDnsLabel(hostname)) {
    warn(r, 'Hostname', 'metadata.name');
    return {};
  }
  r.ofOnePod.spec.add('hostname');
  change(r, 'spec.hostname', "the name of the parent, which its containers see as theirs: a static pod's is another one");
  return { hostname };
}

/** As the kubelet cuts it (kubelet_pods.go, truncatePodHostnameIfNeeded). */
function truncated(name: string): string {
  return name.length <= MAX_HOSTNAME ? name : name.slice(0, MAX_HOSTNAME).replace(/[-.]+$/, '');
}
