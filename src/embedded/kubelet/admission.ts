/** Admission of a pod to the node: as far as the embedded node has limits, that is host ports (the scheduler's NodePorts, run again by the kubelet). */
import { hostPortsOf, type Pod } from './pod.ts';

export interface Rejection {
  readonly reason: string;
  readonly message: string;
}

/**
 * Judged once, when the pod is added. `active` are the pods that the kubelet wants to run: a pod whose manifest or API object is gone no longer
 * counts, even while its containers still hold the port.
 */
export function admit(pod: Pod, active: readonly Pod[]): Rejection | undefined {
  const taken = active.filter((other) => other.metadata.uid !== pod.metadata.uid).flatMap(hostPortsOf);
  const wanted = hostPortsOf(pod);
  const conflict = wanted.some((want) =>
    taken.some((have) => have.port === want.port && have.protocol === want.protocol && overlap(have.ip, want.ip)),
  );
  return conflict
    ? {
        reason: 'NodePorts',
        message: "Pod was rejected: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
      }
    : undefined;
}

function overlap(a: string, b: string): boolean {
  return a === b || a === '0.0.0.0' || b === '0.0.0.0';
}
