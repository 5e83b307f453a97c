/**
 * What would happen at a power cut now: every source of power, the API server and the registry gone, the node coming back alone. Pure. What is activated is
 * asked of the rules that `recover --boot` and the daemon go by; the checks of `foresight/` say what would then go wrong with it.
 */
import type { GenerationNumber, StoredWorkload } from '../checkpoint/model.ts';
import { type WorkloadKey, workloadKey } from '../checkpoint/workload.ts';
import { type Damage, NOTHING_RUNS, planRecovery, type Seen, withDamage } from '../recovery/boot.ts';
import type { DiskManifest, DiskSnapshot } from '../sources/disk.ts';
import type { Facts } from './facts.ts';
import { type Finding, fatal, warning } from './finding.ts';
import { expiryFindings, type WarnBefore } from './foresight/expiry.ts';
import { hostPathFindings } from './foresight/host-paths.ts';
import { imageFindings } from './foresight/images.ts';
import { leaderFindings } from './foresight/leader.ts';
import { lossFindings } from './foresight/losses.ts';
import { manifestFindings } from './foresight/manifest.ts';
import { portSharingFindings, portSharingHint } from './foresight/port-sharing.ts';
import { predecessorFindings, predecessorRuns, runsUnderPredecessor } from './foresight/predecessor.ts';
import { proofFindings } from './foresight/proof.ts';
import { refusedFindings } from './foresight/refused.ts';
import { spaceFindings } from './foresight/space.ts';
import { starterFindings } from './foresight/starter.ts';
import { staticDirectoryFindings } from './foresight/static-directory.ts';

export type Verdict = 'recovers' | 'recovers with warnings' | 'does not recover';

export interface PowerCut {
  readonly verdict: Verdict;
  /** One sentence: why. */
  readonly why: string;
  /** What would run; undefined where nothing would. */
  readonly generation: GenerationNumber | undefined;
  readonly findings: readonly Finding[];
  /** What could be better and is nothing to be warned of. */
  readonly hints: readonly string[];
}

export interface NodePowerCut {
  /** The worst of the node's own and of its workloads'. */
  readonly verdict: Verdict;
  /** Of the node as a whole; those of a workload stand with it. */
  readonly findings: readonly Finding[];
  readonly workloads: ReadonlyMap<WorkloadKey, PowerCut>;
}

export function powerCut(facts: Facts, warnBefore: WarnBefore): NodePowerCut {
  const workloads = new Map<WorkloadKey, PowerCut>();
  const disk = withDamage(facts.disk, damageIn(facts));
  const { chosen, revived } = whatWouldRun(disk);
  const findings = nodeFindings(facts, revived);
  const stops = findings.find(({ level }) => level === 'fatal');
  for (const key of keysOf(facts)) workloads.set(key, workloadPowerCut({ ...facts, disk }, key, chosen.get(key), stops, warnBefore));
  const verdicts = [verdictOf(findings), ...[...workloads.values()].map(({ verdict }) => verdict)];
  return { verdict: worst(verdicts), findings, workloads };
}

/** Every workload that something is known of: stored, active, or said by the leader. */
export function keysOf({ disk, status }: Pick<Facts, 'disk' | 'status'>): WorkloadKey[] {
  const stored = disk.state === 'ok' ? [...disk.store.workloads.keys(), ...disk.manifests.map(({ workload }) => workload)] : [];
  return [...new Set([...stored, ...(Object.keys(status?.workloads ?? {}) as WorkloadKey[])])].sort();
}

/** @param revived what was retired is brought back, or what bootkube's pod-checkpointer left is taken over. */
function nodeFindings(facts: Facts, revived: boolean): Finding[] {
  const { store, disk, places, kubelet } = facts;
  if (store.state === 'missing')
    return [
      fatal(
        'NoStore',
        `there is no store at ${places.checkpointDir}`,
        'Give --checkpoint-dir as the daemon has it; a daemon that has led once has made one.',
      ),
    ];
  if (disk.state === 'unknown') return [fatal('DiskUnknown', disk.detail, 'Run this as root, on the node or in the container.')];
  return [
    ...(facts.manifestDirectory === 'there'
      ? []
      : [
          fatal(
            'NoManifestDirectory',
            `there is no directory ${places.podManifestPath}: no copy can be put there`,
            "Give --pod-manifest-path as the daemon has it, the kubelet's staticPodPath.",
          ),
        ]),
    // A node that has nothing loses nothing that is stored, and comes back without a control plane all the same.
    ...(revived || keysOf(facts).length > 0
      ? []
      : [
          fatal(
            'NothingMarked',
            'no copy of anything is stored, and no pod is known to be marked: nothing would be started',
            'Mark the pods of the control plane (checkpointer.alpha.coreos.com/checkpoint: "true"), and look whether a daemon leads.',
          ),
        ]),
    ...leaderFindings(facts.leader),
    ...(facts.runtime.state === 'ok' || disk.store.workloads.size === 0
      ? []
      : [
          warning(
            'RuntimeUnknown',
            'the container runtime does not answer: whether it has the images of the copies is not known',
            'Start it, or give --container-runtime-endpoint as the daemon has it.',
          ),
        ]),
    ...(disk.store.workloads.size === 0 ? [] : starterFindings(facts)),
    ...staticDirectoryFindings(places.podManifestPath, kubelet),
    ...spaceFindings(store, places.checkpointDir),
    ...predecessorFindings(facts),
  ];
}

interface Chosen {
  readonly generation: GenerationNumber;
  /** `active`: its manifest lies in the kubelet's directory already. `waits`: it is activated where the API server's copy does not answer in time. */
  readonly state: 'active' | 'starts' | 'waits';
}

/** The disk as recovery sees it once every damaged generation is out of it, and what the rules that hold after a boot make of that. */
function whatWouldRun(disk: DiskSnapshot): { readonly chosen: ReadonlyMap<WorkloadKey, Chosen>; readonly revived: boolean } {
  if (disk.state === 'unknown') return { chosen: new Map(), revived: false };
  const chosen = new Map<WorkloadKey, Chosen>();
  for (const { workload, generation } of disk.manifests.toSorted((a, b) => a.activation - b.activation))
    chosen.set(workload, { generation, state: 'active' });
  const seen: Seen = {
    bootId: 'the one after the power cut',
    api: { state: 'unreachable', detail: 'after a power cut' },
    runtime: NOTHING_RUNS,
    disk,
    byHand: false,
  };
  const { actions, reports } = planRecovery(seen);
  // The same as if the API server never came back: what waits for it is activated in the end.
  for (const action of planRecovery({ ...seen, byHand: true }).actions) {
    if (action.kind !== 'activate') continue;
    const key = workloadKey(action.workload);
    chosen.set(key, { generation: action.generation, state: reports.get(key)?.reason === 'ApiServerFirst' ? 'waits' : 'starts' });
  }
  return { chosen, revived: actions.some(({ kind }) => kind === 'revive' || kind === 'adopt') };
}

function damageIn({ generations }: Facts): Damage {
  const damaged = [...generations].map(([key, of]) => {
    const found = [...of.values()].flatMap(({ number, damage }) => (damage === undefined ? [] : [[number, damage] as const]));
    return [key, new Map(found)] as const;
  });
  return new Map(damaged.filter(([, found]) => found.size > 0));
}

function workloadPowerCut(
  facts: Facts,
  key: WorkloadKey,
  chosen: Chosen | undefined,
  stops: Finding | undefined,
  warnBefore: WarnBefore,
): PowerCut {
  const { disk, generations, status, places } = facts;
  const refused = refusedFindings(status?.workloads[key]);
  const stored = disk.state === 'ok' ? disk.store.workloads.get(key)?.stored : undefined;
  const predecessors = runsUnderPredecessor(disk, key);
  if (chosen === undefined && predecessors !== undefined && stored !== undefined)
    return { ...sentence(undefined, [predecessorRuns(predecessors), ...refused], []), why: predecessorRuns(predecessors).message };
  if (chosen === undefined) {
    const nothing =
      stored === undefined || (stored.generations.size === 0 && stored.damaged.size === 0)
        ? fatal('NothingStored', 'no copy is stored', 'Look at its reason, and wait until a copy is stored.')
        : fatal(
            'NothingWhole',
            'no stored copy is whole',
            'Bring the API server up with the pod marked, so that another one is stored; look for errors of the disk in the kernel log.',
          );
    return sentence(undefined, [nothing, ...refused], []);
  }
  const generation = stored?.generations.get(chosen.generation);
  const known = generations.get(key)?.get(chosen.generation);
  const manifest =
    disk.state === 'ok' ? disk.manifests.find((one) => one.workload === key && one.generation === chosen.generation) : undefined;
  const newest = stored?.newest === undefined ? undefined : stored.generations.get(stored.newest);
  const pod = known?.pod;
  const findings: Finding[] = [
    ...(stops === undefined || (chosen.state === 'active' && stops.code === 'NobodyActivates') ? [] : [stops]),
    ...(generation === undefined ? [damagedActive(chosen, stored)] : []),
    ...(stored === undefined ? [] : proofFindings(stored, chosen.generation)),
    ...editFindings(manifest),
    ...(pod === undefined
      ? []
      : [
          ...manifestFindings(pod),
          ...hostPathFindings(pod, facts.hostPaths, `${places.checkpointDir}/workloads`),
          ...lossFindings(pod, facts.kubelet),
          ...imageFindings(pod, facts.runtime.images, facts.kubelet),
        ]),
    ...expiryFindings(known?.ends ?? [], facts.at, warnBefore),
    ...(generation === undefined || newest === undefined ? [] : portSharingFindings(generation, newest.traits)),
    ...refused,
  ];
  const hint = generation === undefined || newest === undefined ? undefined : portSharingHint(generation, newest.traits);
  return sentence(chosen, findings, hint === undefined ? [] : [hint]);
}

/** The manifest is there, and what it mounts is not, or is not what was written. */
function damagedActive({ generation }: Chosen, stored: StoredWorkload | undefined): Finding {
  const message = `the active copy is of generation ${generation}, which is damaged or not in the store`;
  const other = stored?.proven ?? stored?.newest;
  const advice =
    other === undefined
      ? 'Keep it running until the API server answers, so that another copy is stored.'
      : `Remove its manifest from the kubelet's directory; generation ${other} is activated in its place.`;
  return fatal('ActiveDamaged', message, advice);
}

function editFindings(manifest: DiskManifest | undefined): Finding[] {
  if (manifest === undefined || manifest.edits.length === 0) return [];
  const message = `somebody changed ${manifest.edits.join(', ')} of ${manifest.file}`;
  return [warning('ManifestEdited', message, 'Find out who writes there; the leader activates the copy anew.')];
}

const FATES: Readonly<Record<Chosen['state'], (generation: GenerationNumber) => string>> = {
  active: (generation) => `the active copy of generation ${generation} starts again`,
  starts: (generation) => `generation ${generation} is activated`,
  waits: (generation) => `its pod starts once the API server answers, else generation ${generation} is activated`,
};

function sentence(chosen: Chosen | undefined, findings: readonly Finding[], hints: readonly string[]): PowerCut {
  const verdict = verdictOf(findings);
  const [first, ...more] = findings.filter(({ level }) => (verdict === 'does not recover' ? level === 'fatal' : true));
  const fate = chosen === undefined ? '' : FATES[chosen.state](chosen.generation);
  const why =
    first === undefined
      ? fate
      : verdict === 'does not recover'
        ? `${first.message}${andMore(more.length)}`
        : `${fate}; ${first.message}${andMore(more.length)}`;
  return { verdict, why, generation: chosen?.generation, findings, hints };
}

const andMore = (count: number): string => (count === 0 ? '' : ` (and ${count} more)`);

export function verdictOf(findings: readonly Finding[]): Verdict {
  if (findings.some(({ level }) => level === 'fatal')) return 'does not recover';
  return findings.length > 0 ? 'recovers with warnings' : 'recovers';
}

const ORDER: readonly Verdict[] = ['recovers', 'recovers with warnings', 'does not recover'];

function worst(verdicts: readonly Verdict[]): Verdict {
  return verdicts.toSorted((a, b) => ORDER.indexOf(b) - ORDER.indexOf(a))[0] ?? 'recovers';
}
