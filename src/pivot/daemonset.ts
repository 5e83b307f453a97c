/**
 * A static pod of the control plane as a DaemonSet. One DaemonSet serves all masters, so what belongs to one of them is either said by the downward API
 * or left out; what can be neither is a refusal or, between masters, a difference (differences.ts). Pure.
 *
 *  - Nothing declares `ports`: the kubelet fails a hostNetwork pod at admission while another pod holds the same host port, and during a rollout, and
 *    beside a copy, there are two. Probes that name a port get its number.
 *  - Both of two pods have to be able to listen: `--permit-port-sharing` (SO_REUSEPORT, in all three programs since 1.20). That is what makes
 *    maxSurge possible, and a rollout without an outage.
 *  - Each node has to ask for its pod by a label of its own for each component, so that masters go over one by one.
 */
import type { V1Container, V1DaemonSet, V1Lifecycle, V1Pod, V1PodSpec, V1Probe } from '@kubernetes/client-node';
import { CHECKPOINT, HAND_BACK } from '../checkpoint/annotations.ts';
import { type Component, isMainContainer, mainContainer, NAMESPACE, type Refusal } from './component.ts';
import { flagValue, withFlag } from './flags.ts';

export const CONTROL_PLANE_ROLE = 'node-role.kubernetes.io/control-plane';
/** On a node that runs the component as a pod of its DaemonSet. */
export const selfHostedLabel = (component: Component): string => `pod-checkpointer.io/${component}`;
export const SELF_HOSTED = 'self-hosted';
export const APP_LABEL = 'k8s-app';
export const PORT_SHARING = 'permit-port-sharing';
/** The container's variable for the node's address. */
export const HOST_IP = 'HOST_IP';
/** With an address of the node as its value. */
export const ADDRESS_FLAGS = ['advertise-address', 'bind-address'];
/** What a new pod has to stay Ready for before the old one goes. Seconds. */
const MIN_READY = 10;

export interface NodeFacts {
  readonly name: string;
  /** Its first InternalIP: what the downward API says as `status.hostIP`. */
  readonly hostIP: string;
}

export type DaemonSetOutcome =
  | { readonly kind: 'daemonset'; readonly daemonSet: V1DaemonSet }
  | { readonly kind: 'refused'; readonly refusals: readonly Refusal[] };

export function toDaemonSet(component: Component, pod: V1Pod, node: NodeFacts): DaemonSetOutcome {
  const refusals = refusalsOf(component, pod, node);
  const spec = pod.spec;
  if (refusals.length > 0 || spec === undefined) return { kind: 'refused', refusals };
  const labels = { ...pod.metadata?.labels, [APP_LABEL]: component };
  const template = {
    metadata: { labels, annotations: templateAnnotations(component, pod) },
    spec: templateSpec(component, spec, node),
  };
  return {
    kind: 'daemonset',
    daemonSet: {
      apiVersion: 'apps/v1',
      kind: 'DaemonSet',
      metadata: { name: component, namespace: NAMESPACE, labels: { tier: 'control-plane', [APP_LABEL]: component } },
      spec: {
        selector: { matchLabels: { [APP_LABEL]: component } },
        minReadySeconds: MIN_READY,
        updateStrategy: { type: 'RollingUpdate', rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } },
        template,
      },
    },
  };
}

function refusalsOf(component: Component, pod: V1Pod, node: NodeFacts): Refusal[] {
  const refuse = (what: string, message: string): Refusal => ({ component, what, message });
  const { spec } = pod;
  const main = mainContainer(component, spec?.containers ?? []);
  if (spec === undefined || main === undefined)
    return [refuse('spec.containers', `no container runs ${component}; name the manifest that has it with --from`)];
  const advertised = flagValue(main, 'advertise-address');
  const namespace = pod.metadata?.namespace ?? 'default';
  return [
    ...(namespace === NAMESPACE ? [] : [refuse('metadata.namespace', `it is ${namespace}: expected ${NAMESPACE}`)]),
    ...(spec.hostNetwork === true
      ? []
      : [refuse('spec.hostNetwork', 'it is not true: a control plane that is reached by the addresses of its nodes was expected')]),
    ...(component !== 'kube-apiserver' || advertised === undefined || node.hostIP === advertised
      ? []
      : [
          refuse(
            '--advertise-address',
            `it is ${advertised}, and the address of node ${node.name} is ${node.hostIP}: a DaemonSet can only say the node's own (status.hostIP); give the kubelet that one with --node-ip`,
          ),
        ]),
    ...(spec.volumes ?? [])
      .filter((volume) => volume.hostPath === undefined && volume.emptyDir === undefined)
      .map(({ name }) => refuse(`spec.volumes[${name}]`, 'a static pod has hostPath and emptyDir volumes only')),
  ];
}

function templateAnnotations(component: Component, pod: V1Pod): Record<string, string> {
  // kubeadm's say what this one node's pod is (its endpoint); kubernetes.io/config.* is the kubelet's.
  const kept = Object.entries(pod.metadata?.annotations ?? {}).filter(([key]) => !/^(kubeadm\.)?kubernetes\.io\//.test(key));
  return {
    ...Object.fromEntries(kept),
    [CHECKPOINT]: 'true',
    // An API server's flag says it; of the others it has to be said. With leader election two of them do no harm.
    ...(component === 'kube-apiserver' ? {} : { [HAND_BACK]: 'overlap' }),
  };
}

function templateSpec(component: Component, spec: V1PodSpec, node: NodeFacts): V1PodSpec {
  // priority follows from priorityClassName; the API server refuses a pod that says both and disagrees.
  const { priority: _, nodeName: __, tolerations: ___, nodeSelector: ____, initContainers, ...kept } = spec;
  return {
    ...kept,
    hostNetwork: true,
    priorityClassName: spec.priorityClassName ?? 'system-node-critical',
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    nodeSelector: { [CONTROL_PLANE_ROLE]: '', [selfHostedLabel(component)]: SELF_HOSTED },
    // As a static pod, which no taint keeps off its node.
    tolerations: [{ operator: 'Exists' }],
    ...(initContainers === undefined ? {} : { initContainers: initContainers.map((one) => portless(one, node)) }),
    containers: spec.containers.map((one) => (isMainContainer(component, one) ? mainOf(one, node) : portless(one, node))),
  };
}

function mainOf(container: V1Container, node: NodeFacts): V1Container {
  const shared = withFlag(portless(container, node), PORT_SHARING, 'true');
  const own = ADDRESS_FLAGS.filter((name) => flagValue(shared, name) === node.hostIP && !isLoopback(name, shared));
  if (own.length === 0) return shared;
  const flagged = own.reduce((one, name) => withFlag(one, name, `$(${HOST_IP})`), shared);
  const env = [{ name: HOST_IP, valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: 'status.hostIP' } } }, ...(container.env ?? [])];
  return { ...flagged, env };
}

/** Where a program listens on loopback only, it does so on every master. */
function isLoopback(name: string, container: V1Container): boolean {
  return name === 'bind-address' && /^(127\.|::1$)/.test(flagValue(container, name) ?? '');
}

function portless(container: V1Container, node: NodeFacts): V1Container {
  const { ports, livenessProbe, readinessProbe, startupProbe, lifecycle, ...rest } = container;
  const numbers = new Map((ports ?? []).flatMap((port) => (port.name === undefined ? [] : [[port.name, port.containerPort] as const])));
  const probe = (one: V1Probe): V1Probe => withNumbers(one, numbers, node);
  return {
    ...rest,
    ...(livenessProbe === undefined ? {} : { livenessProbe: probe(livenessProbe) }),
    ...(readinessProbe === undefined ? {} : { readinessProbe: probe(readinessProbe) }),
    ...(startupProbe === undefined ? {} : { startupProbe: probe(startupProbe) }),
    ...(lifecycle === undefined ? {} : { lifecycle: withHookNumbers(lifecycle, numbers) }),
  };
}

type Numbers = ReadonlyMap<string, number>;

/** The node's own address goes: without a host the kubelet asks the pod's, and that of a hostNetwork pod is the node's. */
function withNumbers(probe: V1Probe, numbers: Numbers, node: NodeFacts): V1Probe {
  const { httpGet, tcpSocket } = probe;
  const hostless = <T extends { readonly host?: string }>({ host, ...rest }: T) => ({
    ...rest,
    ...(host === undefined || (host === node.hostIP && !/^(127\.|::1$)/.test(host)) ? {} : { host }),
  });
  return {
    ...probe,
    ...(httpGet === undefined ? {} : { httpGet: { ...hostless(httpGet), port: numberOf(httpGet.port, numbers) } }),
    ...(tcpSocket === undefined ? {} : { tcpSocket: { ...hostless(tcpSocket), port: numberOf(tcpSocket.port, numbers) } }),
  };
}

function withHookNumbers({ postStart, preStop, ...rest }: V1Lifecycle, numbers: Numbers): V1Lifecycle {
  const hook = (one: NonNullable<V1Lifecycle['preStop']>) =>
    one.httpGet === undefined ? one : { ...one, httpGet: { ...one.httpGet, port: numberOf(one.httpGet.port, numbers) } };
  return {
    ...rest,
    ...(postStart === undefined ? {} : { postStart: hook(postStart) }),
    ...(preStop === undefined ? {} : { preStop: hook(preStop) }),
  };
}

function numberOf(port: V1IntOrString, numbers: Numbers): V1IntOrString {
  return typeof port === 'string' ? (numbers.get(port) ?? port) : port;
}

type V1IntOrString = number | string;
