/** The readiness probes of a pod that can be done from the node, as the kubelet would do them: HTTP and TCP, of a pod with the host's network. */
import { isIP } from 'node:net';
import type { V1Container, V1Pod, V1Probe } from '@kubernetes/client-node';
import { flagOf } from './copy/traits.ts';

export type NodeProbe =
  | {
      readonly kind: 'http';
      readonly scheme: 'http' | 'https';
      readonly host: string;
      readonly port: number;
      readonly path: string;
      readonly headers: readonly (readonly [string, string])[];
      readonly timeoutMs: number;
    }
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number; readonly timeoutMs: number };

/** Undefined where one of the pod's readiness probes cannot be done from the node. A container without one is Ready while it runs. */
export function readinessProbes(pod: V1Pod): readonly NodeProbe[] | undefined {
  const sidecars = (pod.spec?.initContainers ?? []).filter(({ restartPolicy }) => restartPolicy === 'Always');
  const probes: NodeProbe[] = [];
  for (const container of [...sidecars, ...(pod.spec?.containers ?? [])]) {
    if (container.readinessProbe === undefined) continue;
    const probe = pod.spec?.hostNetwork === true ? nodeProbe(container.readinessProbe, container) : undefined;
    if (probe === undefined) return undefined;
    probes.push(probe);
  }
  return probes;
}

function nodeProbe(probe: V1Probe, container: V1Container): NodeProbe | undefined {
  const timeoutMs = (probe.timeoutSeconds ?? 1) * 1000;
  const { httpGet, tcpSocket } = probe;
  const port = portOf((httpGet ?? tcpSocket)?.port, container);
  const host = (httpGet ?? tcpSocket)?.host ?? addressOf(container);
  if (port === undefined || host === undefined) return undefined;
  if (tcpSocket !== undefined) return { kind: 'tcp', host, port, timeoutMs };
  if (httpGet === undefined) return undefined;
  return {
    kind: 'http',
    scheme: httpGet.scheme === 'HTTPS' ? 'https' : 'http',
    host,
    port,
    path: httpGet.path ?? '/',
    headers: (httpGet.httpHeaders ?? []).map(({ name, value }) => [name, value] as const),
    timeoutMs,
  };
}

/**
 * The kubelet takes the pod's address where the probe names no host; with the host's network any of the node's does, but for a server that is told to listen
 * on one of them. Undefined where that one is in a variable (`$(HOST_IP)`), which only the kubelet knows.
 */
function addressOf(container: V1Container): string | undefined {
  const bound = flagOf(container, 'bind-address') ?? '';
  if (bound.includes('$(')) return undefined;
  return isIP(bound) === 0 || /^[0.:]+$/.test(bound) ? '127.0.0.1' : bound;
}

function portOf(port: unknown, container: V1Container): number | undefined {
  if (typeof port === 'number') return port;
  if (typeof port !== 'string') return undefined;
  const named = container.ports?.find(({ name }) => name === port)?.containerPort;
  return named ?? (/^[0-9]+$/.test(port) ? Number(port) : undefined);
}
