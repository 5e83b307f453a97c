/** Ports: a copy on the host's network declares none, so whatever names one has to say its number. */
import type { V1Container, V1LifecycleHandler, V1Probe } from '@kubernetes/client-node';

type Port = number | string;

/** The container with the names of ports in probes and lifecycle handlers replaced by numbers. A name that no port has stays: the parent has the same fault. */
export function withNumberedPorts(container: V1Container): V1Container {
  const number = (port: Port): Port => {
    const named = (container.ports ?? []).find((p) => p.name !== undefined && p.name === port);
    return named?.containerPort ?? (typeof port === 'string' && /^[0-9]{1,5}$/.test(port) ? Number(port) : port);
  };
  const result = { ...container };
  for (const kind of ['livenessProbe', 'readinessProbe', 'startupProbe'] as const) {
    const probe: V1Probe | undefined = container[kind];
    if (probe !== undefined) result[kind] = { ...probe, ...handler(probe, number) };
  }
  if (container.lifecycle !== undefined) {
    const { postStart, preStop } = container.lifecycle;
    result.lifecycle = {
      ...container.lifecycle,
      ...(postStart && { postStart: { ...postStart, ...handler(postStart, number) } }),
      ...(preStop && { preStop: { ...preStop, ...handler(preStop, number) } }),
    };
  }
  return result;
}

function handler(of: V1Probe | V1LifecycleHandler, number: (port: Port) => Port): Pick<V1Probe, 'httpGet' | 'tcpSocket'> {
  return {
    ...(of.httpGet && { httpGet: { ...of.httpGet, port: number(of.httpGet.port) } }),
    ...(of.tcpSocket && { tcpSocket: { ...of.tcpSocket, port: number(of.tcpSocket.port) } }),
  };
}
