/** What is right and what is wrong with an installation, said of what was seen. Pure. */
import type { ApiState } from '../../checkpoint/model.ts';
import { skewChecks, type Versions } from '../../pivot/skew.ts';
import type { PredecessorSnapshot } from '../../predecessor/read.ts';
import type { KubeletFacts, LeaderFacts, UnitState } from '../facts.ts';
import { staticDirectoryFindings } from '../foresight/static-directory.ts';
import { withinFileSystem } from './mounts.ts';
import type { AccessFacts } from './read-access.ts';
import type { DirectoryFacts, PlaceFacts } from './read-place.ts';

export interface Check {
  /** What was looked at. */
  readonly check: string;
  /** `unknown`: it could not be seen from here. */
  readonly state: 'ok' | 'warn' | 'fail' | 'unknown';
  readonly seen: string;
  /** What to do; absent where nothing has to be done. */
  readonly advice?: string;
}

export interface DoctorFacts {
  readonly place: PlaceFacts;
  readonly store: DirectoryFacts;
  readonly manifests: DirectoryFacts;
  readonly locks: DirectoryFacts;
  readonly kubelet: KubeletFacts;
  readonly kubeconfig: { readonly state: 'ok' } | { readonly state: 'wrong'; readonly detail: string };
  readonly api: ApiState;
  /** The node's identity, and the one that reads owners; undefined: there is none. */
  readonly node: AccessFacts | undefined;
  readonly owners: AccessFacts | undefined;
  readonly runtime: { readonly state: 'ok'; readonly name: string } | { readonly state: 'unknown'; readonly detail: string };
  readonly bootId: { readonly state: 'ok'; readonly id: string } | { readonly state: 'unknown'; readonly detail: string };
  /** Milliseconds that this node's clock is ahead of the API server's; undefined where that did not answer. */
  readonly clockAhead: number | undefined;
  readonly bootUnit: UnitState;
  readonly leader: LeaderFacts;
  /** What bootkube's pod-checkpointer left. */
  readonly predecessor?: PredecessorSnapshot;
  /** Of a control plane of DaemonSets; absent where they cannot be read. */
  readonly versions?: Versions;
}

export function checks(facts: DoctorFacts): Check[] {
  const { place, store, manifests, locks } = facts;
  return [
    identity(place),
    directory('Checkpoint directory', '--checkpoint-dir', store, place, { durable: true, writable: true }),
    ...storeModes(store),
    directory('Manifest directory', '--pod-manifest-path', manifests, place, { durable: true, writable: true }),
    ...manifestModes(manifests),
    ...staticDirectoryFindings(manifests.path, facts.kubelet).map(({ message, advice }) => fail('Static pods', message, advice)),
    ...(facts.kubelet.staticPodPath === undefined
      ? [unknown('Static pods', facts.kubelet.detail ?? 'where the kubelet reads them is not known')]
      : []),
    directory('Lock directory', '--lock-file', locks, place, { durable: false, writable: true }),
    place.flock === undefined
      ? fail('flock', 'there is no flock(1) on PATH: nobody can lead', 'Install util-linux.')
      : ok('flock', place.flock),
    runtime(facts.runtime),
    ...(facts.kubeconfig.state === 'ok'
      ? [api(facts.api)]
      : [fail('Kubeconfig', facts.kubeconfig.detail, "Set --kubeconfig to the kubelet's.")]),
    ...access('Node identity', facts.node),
    ...access('Owners identity', facts.owners),
    clock(facts.clockAhead),
    bootId(facts.bootId),
    selinux(place),
    bootUnit(facts.bootUnit),
    leader(facts.leader),
    ...predecessor(facts.predecessor),
    ...(facts.versions === undefined ? [] : skewChecks(facts.versions)),
  ];
}

const ok = (check: string, seen: string): Check => ({ check, state: 'ok', seen });
const warn = (check: string, seen: string, advice: string): Check => ({ check, state: 'warn', seen, advice });
const fail = (check: string, seen: string, advice: string): Check => ({ check, state: 'fail', seen, advice });
const unknown = (check: string, seen: string): Check => ({ check, state: 'unknown', seen });

function identity({ uid, where }: PlaceFacts): Check {
  const at = where === 'host' ? 'on the host' : where === 'container' ? 'in a container that sees the host' : 'in a container';
  if (uid === 0) return ok('User', `root, ${at}`);
  return fail(
    'User',
    `uid ${uid}, ${at}`,
    "Run as root: the store and the manifest directory belong to root, and the pods' files to whom they belong.",
  );
}

function directory(
  check: string,
  flag: string,
  { path, found, mount, sameAsHost }: DirectoryFacts,
  { where }: PlaceFacts,
  needs: { readonly durable: boolean; readonly writable: boolean },
): Check {
  if (found === undefined) return fail(check, `${path} does not exist`, `Make it and mount it, or set ${flag}.`);
  if (!found.directory) return fail(check, `${path} is not a directory`, `Set ${flag}.`);
  if (needs.writable && mount?.readOnly === true) return fail(check, `${path} is mounted read-only`, 'Mount it for writing.');
  if (needs.durable && (mount?.type === 'tmpfs' || mount?.type === 'ramfs'))
    return fail(check, `${path} is in memory (${mount.type}): nothing of it is left after a power cut`, 'Use a directory on a disk.');
  if (where === 'host') return ok(check, `${path}, ${mount?.type ?? 'unknown file system'}`);
  if (sameAsHost === true) return ok(check, `${path}, the same on the host`);
  const mounting = `Mount the host's ${path} at the same path (hostPath).`;
  if (sameAsHost === false) return fail(check, `${path} is another directory than the host's ${path}`, mounting);
  if (mount === undefined) return unknown(check, `${path}: /proc/self/mountinfo does not say where it is from`);
  if (mount.point === '/' || mount.type === 'overlay') return fail(check, `${path} lies in the container's own file system`, mounting);
  const within = withinFileSystem(mount, path);
  if (path.endsWith(within) || within === '/') return ok(check, `${path}, mounted from ${within} of its file system (${mount.type})`);
  return warn(check, `${path} is mounted from ${within} of its file system: copies name paths of the host`, mounting);
}

function storeModes({ path, found }: DirectoryFacts): Check[] {
  if (found === undefined || !found.directory) return [];
  const { uid, mode } = found;
  if (uid !== 0) return [fail('Store permissions', `${path} belongs to uid ${uid}`, `chown root ${path}`)];
  if (mode !== 0o700)
    return [
      fail(
        'Store permissions',
        `${path} has mode ${mode.toString(8)}: Secrets lie below it, with the modes that their pods want`,
        `chmod 700 ${path}`,
      ),
    ];
  return [ok('Store permissions', 'root, 0700')];
}

function manifestModes({ path, found }: DirectoryFacts): Check[] {
  if (found === undefined || !found.directory) return [];
  const { uid, mode } = found;
  if (uid === 0 && (mode & 0o022) === 0) return [ok('Manifest permissions', `root, ${mode.toString(8).padStart(4, '0')}`)];
  const message = `${path} belongs to uid ${uid} and has mode ${mode.toString(8)}: whoever writes there runs pods as root on this node`;
  return [warn('Manifest permissions', message, `chown root ${path}; chmod go-w ${path}`)];
}

function runtime(facts: DoctorFacts['runtime']): Check {
  if (facts.state === 'ok') return ok('Container runtime', `${facts.name}, CRI v1`);
  return fail('Container runtime', facts.detail, 'Start it, mount the directory of its socket, or set --container-runtime-endpoint.');
}

function api(state: ApiState): Check {
  switch (state.state) {
    case 'ok':
      return ok('API server', 'answers');
    case 'denied':
      return fail('API server', state.detail, 'Renew the credentials of the kubeconfig, or set --kubeconfig.');
    case 'unreachable':
      return warn('API server', state.detail, 'Nothing in recovery needs it; copies are kept current only while it answers.');
    case 'unknown':
      return unknown('API server', 'it was not asked');
  }
}

function access(check: string, facts: AccessFacts | undefined): Check[] {
  if (facts === undefined)
    return [
      warn(
        check,
        'there is none: whether an owner is gone or wants a pod here is not known',
        'Apply the ServiceAccount of manifests/base, or set --owners-kubeconfig.',
      ),
    ];
  if (facts.state === 'unknown') return [unknown(check, facts.detail)];
  const missing = facts.reviews.filter(({ wanted, allowed }) => wanted && !allowed).map(({ what }) => what);
  const surplus = facts.reviews.filter(({ wanted, allowed }) => !wanted && allowed).map(({ what }) => what);
  const who = facts.user ?? 'an identity without a name';
  if (missing.length > 0)
    return [
      fail(
        check,
        `${who} may not ${missing.join(', ')}`,
        'Compare with manifests/base/rbac.yaml and with the authorization modes of the API server (Node, RBAC).',
      ),
    ];
  if (surplus.length > 0)
    return [
      warn(
        check,
        `${who} may ${surplus.join(', ')}, which is not needed`,
        'Use the identity of the node, or a ServiceAccount with the role of manifests/base.',
      ),
    ];
  return [
    ok(
      check,
      `${who} may ${facts.reviews
        .filter(({ wanted }) => wanted)
        .map(({ what }) => what)
        .join(', ')}`,
    ),
  ];
}

/** Milliseconds. The Date header counts whole seconds. */
const SKEW = { warn: 5_000, fail: 60_000 };

function clock(ahead: number | undefined): Check {
  if (ahead === undefined) return unknown('Clock', 'the API server did not say what time it is');
  const seconds = Math.round(Math.abs(ahead) / 1000);
  const seen = `${seconds} s ${ahead < 0 ? 'behind' : 'ahead of'} the API server's`;
  if (Math.abs(ahead) < SKEW.warn) return ok('Clock', seen);
  const advice = 'Set the clock (NTP): tokens and certificates are judged by it.';
  return Math.abs(ahead) < SKEW.fail ? warn('Clock', seen, advice) : fail('Clock', seen, advice);
}

function bootId(facts: DoctorFacts['bootId']): Check {
  if (facts.state === 'ok') return ok('Boot id', facts.id);
  return fail('Boot id', facts.detail, 'Mount /proc: a power cut cannot be told from a restart without it.');
}

function selinux({ selinux: mode, where }: PlaceFacts): Check {
  if (mode === undefined) return ok('SELinux', 'not enabled');
  const { enforcing, context } = mode;
  const domain = context.split(':')[2] ?? context;
  const seen = `${enforcing ? 'enforcing' : 'permissive'}, this process is ${context === '' ? 'without a context' : context}`;
  if (!enforcing || where === 'host' || domain === 'spc_t' || domain.startsWith('unconfined')) return ok('SELinux', seen);
  return warn(
    'SELinux',
    seen,
    'Give the container the type spc_t (securityContext.seLinuxOptions), so that it may use the host directories.',
  );
}

function bootUnit(unit: UnitState): Check {
  if (unit.state === 'armed') return ok('Boot unit', `armed, before ${unit.by}`);
  if (unit.state === 'unknown') return unknown('Boot unit', unit.detail);
  return warn('Boot unit', unit.detail, 'checkpointer install-host; without it recovery begins when the copy of the checkpointer runs.');
}

function predecessor(facts: PredecessorSnapshot | undefined): Check[] {
  if (facts === undefined) return [];
  if (facts.state === 'unknown') return [unknown('Predecessor', facts.detail)];
  const { checkpoints, removable, unread } = facts;
  const itself = checkpoints.find(({ isCheckpointer, active }) => isCheckpointer && active !== undefined);
  const left = `bootkube's pod-checkpointer left ${checkpoints.map(({ namespace, name }) => `${namespace}/${name}`).join(', ')}`;
  if (itself !== undefined)
    return [
      warn('Predecessor', `${left}; it starts with the kubelet (${itself.active})`, 'Delete its DaemonSet: only one of the two can work.'),
    ];
  if (unread)
    return [unknown('Predecessor', "the disk does not give all that bootkube's pod-checkpointer may have left: see the kernel's log")];
  if (checkpoints.length === 0) return [];
  if (removable)
    return [warn('Predecessor', left, 'Nothing: each goes when this checkpointer has a proven copy; checkpointer inspect says more.')];
  const advice = 'Apply manifests/components/from-bootkube, or remove them by hand once every workload is proven.';
  return [warn('Predecessor', `${left}, and its directories cannot be written to from here`, advice)];
}

function leader(facts: LeaderFacts): Check {
  const { recorded } = facts;
  const who = recorded === undefined ? '' : `${recorded.where} (pid ${recorded.pid})`;
  if (facts.state === 'leads') return ok('Leader', who === '' ? 'somebody leads' : who);
  if (facts.state === 'unknown') return unknown('Leader', `${who === '' ? '' : `last written down: ${who}; `}${facts.detail}`);
  return warn('Leader', 'nobody leads on this node', "Look at the checkpointer's pod, or at pod-checkpointer.service on the host.");
}
