/** What has to be right before anything is changed. Pure: said of what was read (gather.ts). */
import type { V1Node } from '@kubernetes/client-node';
import type { Check } from '../inspect/doctor/checks.ts';
import { COMPONENTS, type Component, minorOf, type Refusal } from './component.ts';
import { CONTROL_PLANE_ROLE, type NodeFacts } from './daemonset.ts';
import { type Difference, describeDifference } from './differences.ts';

/** kubeadm's minors whose manifests are known. */
export const OLDEST_MINOR = 30;
export const NEWEST_MINOR = 36;
/** Bytes: the copies of three components and a snapshot are far below a MiB; a store that is this full is in trouble anyway. */
const FREE = 64 * 1024 * 1024;
/** Milliseconds. Leases and tokens go by the clock. */
const CLOCK = 10_000;

export interface ManifestFacts {
  readonly component: Component;
  readonly file: string;
  /** Undefined: `trouble` says why. */
  readonly image: string | undefined;
  readonly trouble: string | undefined;
  /** Whether its mirror pod is Ready. */
  readonly running: boolean;
}

export interface PivotFacts {
  readonly nodeName: string;
  readonly node: V1Node | undefined;
  readonly api: { readonly state: 'ok'; readonly version: string } | { readonly state: 'bad'; readonly detail: string };
  readonly manifests: readonly ManifestFacts[];
  /** `anyManifest`: they were named with --from, and need not be kubeadm's. */
  readonly anyManifest: boolean;
  readonly checkpointer: 'ready' | 'not ready' | 'absent' | 'to be deployed';
  /** Of the file system of the store; undefined where the store is not there or cannot be written to. */
  readonly freeBytes: number | undefined;
  readonly checkpointDir: string;
  readonly manifestsWritable: boolean;
  readonly clockAhead: number | undefined;
  readonly refusals: readonly Refusal[];
  /** To DaemonSets of these names that are there. */
  readonly differences: ReadonlyMap<Component, readonly Difference[]>;
  /** The node whose pivot is under way. */
  readonly leaseHolder: string | undefined;
}

export function pivotChecks(facts: PivotFacts): Check[] {
  return [
    api(facts),
    ...node(facts),
    ...facts.manifests.map(staticPod),
    ...versions(facts),
    checkpointer(facts),
    store(facts),
    facts.manifestsWritable
      ? ok('Manifests', 'can be changed')
      : fail('Manifests', 'the directory of the static pods cannot be written to', 'Run this as root on the host.'),
    clock(facts.clockAhead),
    ...facts.refusals.map(({ component, what, message }) =>
      fail(component, `${what}: ${message}`, 'Change the static pod first, or leave it as it is.'),
    ),
    ...[...facts.differences].filter(([, found]) => found.length > 0).map(([component, found]) => masters(component, found)),
    facts.leaseHolder === undefined || facts.leaseHolder === facts.nodeName
      ? ok('Other masters', 'none is in the middle of a pivot')
      : fail(
          'Other masters',
          `node ${facts.leaseHolder} is in the middle of a pivot`,
          'End it there first: checkpointer pivot, or unpivot.',
        ),
  ];
}

const ok = (check: string, seen: string): Check => ({ check, state: 'ok', seen });
const fail = (check: string, seen: string, advice: string): Check => ({ check, state: 'fail', seen, advice });
const warn = (check: string, seen: string, advice: string): Check => ({ check, state: 'warn', seen, advice });

function api({ api: found }: PivotFacts): Check {
  return found.state === 'ok'
    ? ok('API server', `ready, ${found.version}`)
    : fail('API server', found.detail, 'A pivot begins from a healthy control plane: mend it, or name an administrator with --kubeconfig.');
}

function node({ node: found, nodeName, api: answer }: PivotFacts): Check[] {
  if (answer.state === 'bad') return [];
  if (found === undefined) return [fail('Node', `there is no node ${nodeName}`, 'Give --node-name as kubectl get nodes says it.')];
  const ready = found.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') === true;
  return [
    ready ? ok('Node', `${nodeName} is Ready`) : fail('Node', `${nodeName} is not Ready`, 'See kubectl describe node.'),
    found.metadata?.labels?.[CONTROL_PLANE_ROLE] === undefined
      ? fail('Role', `${nodeName} has no label ${CONTROL_PLANE_ROLE}`, 'Run this on a control-plane node; kubeadm labels them.')
      : ok('Role', 'control-plane'),
    nodeFacts(found) === undefined
      ? fail('Address', `${nodeName} has no InternalIP`, 'Start the kubelet with --node-ip.')
      : ok('Address', nodeFacts(found)?.hostIP ?? ''),
  ];
}

export function nodeFacts({ metadata, status }: V1Node): NodeFacts | undefined {
  const hostIP = status?.addresses?.find(({ type }) => type === 'InternalIP')?.address;
  return hostIP === undefined ? undefined : { name: metadata?.name ?? '', hostIP };
}

/** An image that runs on the node is on the node: the kubelet removes none that is in use. */
function staticPod({ component, file, trouble, running, image }: ManifestFacts): Check {
  if (trouble !== undefined) return fail(component, trouble, `Name its manifest with --from=<file>; ${component} has to be a static pod.`);
  return running
    ? ok(component, `runs as a static pod from ${file}, image ${image ?? ''}`)
    : fail(
        component,
        `its static pod (${file}) is not Ready`,
        'A pivot begins from a healthy control plane: see kubectl -n kube-system get pods.',
      );
}

function versions({ manifests, anyManifest, api: answer }: PivotFacts): Check[] {
  const known = new Map(manifests.map(({ component, image }) => [component, image === undefined ? undefined : minorOf(image)]));
  const server = known.get('kube-apiserver');
  const unknown = COMPONENTS.filter((component) => known.get(component) === undefined);
  if (unknown.length > 0)
    return [
      warn(
        'Versions',
        `the image of ${unknown.join(', ')} does not say its version`,
        `Make sure yourself that it is 1.${OLDEST_MINOR} or later.`,
      ),
    ];
  const out = [...known].filter(([, found]) => found?.major !== 1 || found.minor < OLDEST_MINOR || found.minor > NEWEST_MINOR);
  const said = [...known].map(([component, found]) => `${component} 1.${found?.minor ?? '?'}`).join(', ');
  if (out.length > 0) {
    const seen = `${said}: expected 1.${OLDEST_MINOR} to 1.${NEWEST_MINOR}`;
    return [
      anyManifest
        ? warn('Versions', seen, 'These versions were not tried.')
        : fail('Versions', seen, 'Name the manifests with --from if you want to go on.'),
    ];
  }
  // A component may be one minor behind the API server, and never ahead (kubernetes.io/releases/version-skew-policy).
  const skewed = [...known].filter(([, found]) => {
    const behind = (server?.minor ?? 0) - (found?.minor ?? 0);
    return behind < 0 || behind > 1;
  });
  if (skewed.length > 0)
    return [fail('Versions', said, 'The controller manager and the scheduler may be one minor behind the API server, and not ahead.')];
  const running = answer.state === 'ok' ? minorOf(`x:${answer.version}`) : undefined;
  return running !== undefined && running.minor !== server?.minor
    ? [
        warn(
          'Versions',
          `${said}; the API server that answered is ${answer.state === 'ok' ? answer.version : ''}`,
          'An upgrade of another master seems to be under way: end it first.',
        ),
      ]
    : [ok('Versions', said)];
}

function checkpointer({ checkpointer: state, nodeName }: PivotFacts): Check {
  switch (state) {
    case 'ready':
      return ok('Checkpointer', `its pod on ${nodeName} is Ready`);
    case 'to be deployed':
      return ok('Checkpointer', 'is deployed first (--deploy)');
    case 'not ready':
      return fail(
        'Checkpointer',
        `its pod on ${nodeName} is not Ready`,
        'Without it the node would not come back from a reboot. See checkpointer doctor.',
      );
    case 'absent':
      return fail(
        'Checkpointer',
        'DaemonSet kube-system/pod-checkpointer is not there',
        'Deploy it (kubectl apply -k manifests/base), or let --deploy=<file> do it.',
      );
  }
}

function store({ freeBytes, checkpointDir }: PivotFacts): Check {
  if (freeBytes === undefined)
    return fail(
      'Store',
      `${checkpointDir} is not there or cannot be written to`,
      'Give --checkpoint-dir as the daemon has it, and run this as root on the host.',
    );
  const mib = Math.floor(freeBytes / 1024 / 1024);
  return freeBytes < FREE
    ? fail('Store', `${mib} MiB are free in ${checkpointDir}, ${FREE / 1024 / 1024} MiB are needed`, 'Free space on its file system.')
    : ok('Store', `${mib} MiB free in ${checkpointDir}`);
}

function clock(ahead: number | undefined): Check {
  if (ahead === undefined) return { check: 'Clock', state: 'unknown', seen: 'the API server did not say its time' };
  const seen = `${(Math.abs(ahead) / 1000).toFixed(1)} s ${ahead < 0 ? 'behind' : 'ahead of'} the API server's`;
  return Math.abs(ahead) > CLOCK ? fail('Clock', seen, 'Set the clock: leader election and tokens go by it.') : ok('Clock', seen);
}

function masters(component: Component, found: readonly Difference[]): Check {
  return fail(
    component,
    `DaemonSet ${component} is there and differs: ${found.map(describeDifference).join('; ')}`,
    'One DaemonSet serves all masters: make the static pods of this one the same as the others (kubeadm upgrade node), or delete a DaemonSet that nothing uses.',
  );
}

export const isReady = (checks: readonly Check[]): boolean => checks.every(({ state }) => state !== 'fail');
