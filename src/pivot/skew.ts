/**
 * Whether the versions of a control plane go together (kubernetes.io/releases/version-skew-policy), and what to upgrade next. Pure.
 *
 *  - Nothing is newer than the API server. Controller manager and scheduler may be one minor behind it, a kubelet three (two with a kubelet before 1.25).
 *  - So the API server is upgraded first, one minor at a time, then controller manager and scheduler, kubelets last.
 */
import type { Check } from '../inspect/doctor/checks.ts';
import { type Component, minorOf } from './component.ts';

export interface Versions {
  /** Images of the DaemonSets' templates; a component that is no DaemonSet is left out. */
  readonly wanted: ReadonlyMap<Component, string>;
  /** Images of the pods on this node. */
  readonly running: ReadonlyMap<Component, string>;
  /** Of this node: `v1.36.2`; undefined where it is not known. */
  readonly kubelet: string | undefined;
}

const SERVER = 'kube-apiserver';
/** Minors that each may be behind the API server. */
const BEHIND = { component: 1, kubelet: 3 } as const;
const CHECK = 'Version skew';

/** Empty where no component is a DaemonSet: then it is none of our business. */
export function skewChecks({ wanted, running, kubelet }: Versions): Check[] {
  if (wanted.size === 0) return [];
  const server = minor(running.get(SERVER) ?? wanted.get(SERVER));
  if (server === undefined) return [{ check: CHECK, state: 'unknown', seen: "the API server's image does not say its version" }];
  const found = [
    ...[...wanted]
      .filter(([component]) => component !== SERVER)
      .flatMap(([component, image]) => behind(component, minor(image), server, BEHIND.component)),
    ...behind('the kubelet', kubelet === undefined ? undefined : minor(`kubelet:${kubelet}`), server, BEHIND.kubelet),
    ...jump(minor(running.get(SERVER)), minor(wanted.get(SERVER))),
  ];
  return found.length > 0 ? found : [{ check: CHECK, state: 'ok', seen: `the control plane is 1.${server}${next(wanted, running)}` }];
}

const minor = (image: string | undefined): number | undefined => (image === undefined ? undefined : minorOf(image)?.minor);

function behind(what: string, found: number | undefined, server: number, limit: number): Check[] {
  if (found === undefined) return [];
  if (found > server)
    return [
      {
        check: CHECK,
        state: 'fail',
        seen: `${what} is 1.${found}, the API server 1.${server}`,
        advice: 'Nothing may be newer than the API server: upgrade that first.',
      },
    ];
  if (server - found <= limit) return [];
  return [
    {
      check: CHECK,
      state: 'fail',
      seen: `${what} is 1.${found}, the API server 1.${server}`,
      advice: `Upgrade ${what}: it may be ${limit === 1 ? 'one minor' : `${limit} minors`} behind.`,
    },
  ];
}

/** An API server is upgraded by one minor at a time: it reads what the one before it stored. */
function jump(running: number | undefined, wanted: number | undefined): Check[] {
  if (running === undefined || wanted === undefined || Math.abs(wanted - running) <= 1) return [];
  return [
    {
      check: CHECK,
      state: 'fail',
      seen: `kube-apiserver is to go from 1.${running} to 1.${wanted}`,
      advice: 'Upgrade it by one minor at a time: kubectl rollout undo, and an image of the next minor.',
    },
  ];
}

/** Which rollout is not over. */
function next(wanted: ReadonlyMap<Component, string>, running: ReadonlyMap<Component, string>): string {
  const open = [...wanted]
    .filter(([component, image]) => running.has(component) && running.get(component) !== image)
    .map(([component]) => component);
  return open.length === 0 ? '' : `; rolling out: ${open.join(', ')}, wait for it before the next`;
}
