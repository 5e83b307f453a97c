/** What a person is told of bootkube's pod-checkpointer: of its files, of what they wait for, and of a power cut while they are there. */
import { describe, expect, it } from 'vitest';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { checks, type DoctorFacts } from '../../src/inspect/doctor/checks.ts';
import type { Facts } from '../../src/inspect/facts.ts';
import { renderInspection } from '../../src/inspect/render.ts';
import { inspection } from '../../src/inspect/report.ts';
import type { FoundCheckpoint, PredecessorSnapshot } from '../../src/predecessor/read.ts';
import { factsOf, SELF, type WorkloadWords, workloadCalled } from '../support/inspect/facts.ts';

const SCHEDULER = workloadCalled('kube-scheduler');
const WAITS = "bootkube's checkpoint kube-system/kube-scheduler-fd55v is kept until its pod has been Ready for a while";

const own: WorkloadWords = { workload: SELF, generations: [{ number: 1 }], proven: 1, active: [1, 1], parentUp: 7200, copyUp: 7200 };
const scheduler = (predecessor?: string): WorkloadWords => ({
  workload: SCHEDULER,
  generations: [{ number: 7 }],
  proven: 7,
  status: { reason: 'Protected', message: 'generation 7 is proven', ...(predecessor !== undefined && { predecessor }) },
  parentUp: 500,
});
const checkpoint = (more: Partial<FoundCheckpoint> = {}): FoundCheckpoint => ({
  namespace: 'kube-system',
  name: 'kube-scheduler-fd55v',
  uid: 'uid',
  key: workloadKey(SCHEDULER),
  workload: SCHEDULER,
  isCheckpointer: false,
  isOfOurs: false,
  active: undefined,
  holdsHostPort: false,
  inactive: true,
  data: true,
  copy: undefined,
  ...more,
});
const itself = checkpoint({
  name: 'pod-checkpointer-8wxtg',
  key: workloadKey(SELF),
  workload: SELF,
  isCheckpointer: true,
  active: 'kube-system-pod-checkpointer-8wxtg.json',
});

function found(checkpoints: readonly FoundCheckpoint[], words = [own, scheduler(WAITS)], removable = true): Facts {
  const facts = factsOf(words);
  const predecessor: PredecessorSnapshot = { state: 'ok', checkpoints, removable, empty: [] };
  return facts.disk.state === 'ok' ? { ...facts, disk: { ...facts.disk, predecessor } } : facts;
}
const findings = (facts: Facts) => inspection(facts).node.findings.map(({ code, message }) => `${code}: ${message}`);

describe('inspect', () => {
  it('says nothing of it on a node without it', () => {
    expect(inspection(factsOf([own, scheduler()])).node).not.toHaveProperty('predecessor');
  });

  it('names each checkpoint, with what it waits for', () => {
    const facts = found([checkpoint()]);
    const { node, verdict } = inspection(facts);
    expect(node.predecessor).toEqual([
      {
        pod: 'kube-system/kube-scheduler-fd55v',
        workload: 'kube-system/DaemonSet/kube-scheduler',
        inactive: true,
        files: true,
        waitsFor: WAITS,
      },
    ]);
    expect(findings(facts)).toEqual([`PredecessorLeft: bootkube's pod-checkpointer left a checkpoint: ${WAITS}`]);
    expect(verdict).toBe('recovers with warnings');
    expect(renderInspection(inspection(facts), false)).toContain(WAITS);
  });

  it('says what to do where its directories are mounted read-only', () => {
    const [finding] = inspection(found([checkpoint()], undefined, false)).node.findings;
    expect(finding?.advice).toContain('manifests/components/from-bootkube');
  });

  it('warns while it starts with the kubelet', () => {
    expect(findings(found([itself]))).toEqual([expect.stringMatching(/^PredecessorStarts: .*kube-system-pod-checkpointer-8wxtg\.json/)]);
  });

  it('says which of its manifests would run again after a power cut', () => {
    const active = checkpoint({ active: 'kube-system-kube-scheduler-fd55v.json' });
    const { workloads } = inspection(found([active]));
    const report = workloads.find(({ name }) => name === 'kube-scheduler');
    expect(report?.powerCut).toMatchObject({
      verdict: 'recovers with warnings',
      why: expect.stringContaining('kube-scheduler-fd55v.json'),
    });
    expect(report?.findings.map(({ code }) => code)).toEqual(['PredecessorActive']);
  });

  it('says so where it cannot be read', () => {
    const facts = factsOf([own, scheduler()]);
    if (facts.disk.state !== 'ok') throw new Error('the disk is there');
    const predecessor: PredecessorSnapshot = { state: 'unknown', detail: 'EIO' };
    expect(findings({ ...facts, disk: { ...facts.disk, predecessor } })).toEqual([expect.stringMatching(/^PredecessorUnknown: .*EIO/)]);
    const part: PredecessorSnapshot = { state: 'ok', checkpoints: [], removable: false, empty: [], unread: true };
    expect(findings({ ...facts, disk: { ...facts.disk, predecessor: part } })).toEqual([expect.stringMatching(/^PredecessorUnknown: /)]);
  });
});

describe('doctor', () => {
  const nowhere = { found: undefined, mount: undefined, sameAsHost: undefined } as const;
  const facts: DoctorFacts = {
    place: { uid: 0, where: 'host', flock: 'flock', selinux: undefined },
    store: { path: '/s', ...nowhere },
    manifests: { path: '/m', ...nowhere },
    locks: { path: '/l', ...nowhere },
    kubelet: { staticPodPath: undefined, imagePullVerification: undefined, pulled: undefined, detail: undefined },
    kubeconfig: { state: 'ok' },
    api: { state: 'ok' },
    node: undefined,
    owners: undefined,
    runtime: { state: 'ok', name: 'x' },
    bootId: { state: 'ok', id: 'x' },
    clockAhead: 0,
    bootUnit: { state: 'armed', by: 'x' },
    leader: { state: 'nobody', recorded: undefined },
  };
  const of = (predecessor?: PredecessorSnapshot) =>
    checks({ ...facts, ...(predecessor && { predecessor }) }).filter(({ check }) => check === 'Predecessor');

  it('has no check of it on a node without it', () => {
    expect(of()).toEqual([]);
    expect(of({ state: 'ok', checkpoints: [], removable: true, empty: [] })).toEqual([]);
  });

  it('warns of what it left, and says what to do: nothing, mount its directories, or delete its DaemonSet', () => {
    const advice = (checkpoints: readonly FoundCheckpoint[], removable = true) =>
      of({ state: 'ok', checkpoints, removable, empty: [] }).map(({ state, advice: text }) => [state, text]);
    expect(advice([checkpoint()])).toEqual([['warn', expect.stringMatching(/^Nothing/)]]);
    expect(advice([checkpoint()], false)).toEqual([['warn', expect.stringContaining('from-bootkube')]]);
    expect(advice([checkpoint(), itself])).toEqual([['warn', expect.stringMatching(/^Delete its DaemonSet/)]]);
    expect(of({ state: 'unknown', detail: 'EIO' })).toMatchObject([{ state: 'unknown', seen: 'EIO' }]);
    expect(of({ state: 'ok', checkpoints: [], removable: false, empty: [], unread: true })).toMatchObject([{ state: 'unknown' }]);
  });
});
