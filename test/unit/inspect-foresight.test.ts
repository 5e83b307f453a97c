/** Each thing that inspect warns of before a power cut: what it takes for it to speak, and to be silent. */
import { describe, expect, it } from 'vitest';
import type { Traits } from '../../src/checkpoint/model.ts';
import type { Facts, HostPathState, ImageState, KubeletFacts, UnitState } from '../../src/inspect/facts.ts';
import { hostPathFindings } from '../../src/inspect/foresight/host-paths.ts';
import { imageFindings } from '../../src/inspect/foresight/images.ts';
import { portSharingFindings } from '../../src/inspect/foresight/port-sharing.ts';
import { inspection } from '../../src/inspect/report.ts';
import { ago, factsOf, SELF, type WorkloadWords, workloadCalled } from '../support/inspect/facts.ts';

const SCHEDULER = workloadCalled('kube-scheduler');
const one = (more: Partial<WorkloadWords> = {}): WorkloadWords => ({
  workload: SCHEDULER,
  generations: [{ number: 1 }],
  proven: 1,
  ...more,
});

const KUBELET: KubeletFacts = { staticPodPath: undefined, imagePullVerification: undefined, pulled: undefined, detail: undefined };
const IMAGE = 'registry.example.org/component';

describe('an image', () => {
  const codes = (image: string, imagePullPolicy: string | undefined, state: ImageState | undefined, kubelet: Partial<KubeletFacts> = {}) =>
    imageFindings(
      { spec: { containers: [{ name: 'c', image, ...(imagePullPolicy !== undefined && { imagePullPolicy }) }] } },
      state === undefined ? undefined : new Map([[image, state]]),
      { ...KUBELET, ...kubelet },
    ).map(({ code }) => code);
  const present: ImageState = { state: 'present', ref: 'sha256:a' };
  const record = (everyPod: boolean) => new Map([['sha256:a', new Map([[IMAGE, { everyPod }]])]]);
  const ofAnother = new Map([['sha256:a', new Map([['registry.example.org/other', { everyPod: true }]])]]);

  it.each([
    ['there', `${IMAGE}:1`, 'IfNotPresent', present, []],
    ['that is missing', `${IMAGE}:1`, 'IfNotPresent', { state: 'missing' } as const, ['ImageMissing']],
    ['that nobody was asked about', `${IMAGE}:1`, 'IfNotPresent', undefined, []],
    ['pulled always', `${IMAGE}:1`, 'Always', present, ['ImagePulledAlways']],
    ['never pulled', `${IMAGE}:latest`, 'Never', present, []],
    ['without tag and policy', IMAGE, undefined, present, ['ImagePulledAlways']],
    ['without tag and policy, of a registry with a port', 'registry:5000/component', undefined, present, ['ImagePulledAlways']],
    ['of the tag latest and without a policy', `${IMAGE}:latest`, undefined, present, ['ImagePulledAlways']],
    ['with a tag and without a policy', `${IMAGE}:1`, undefined, present, []],
    ['with a digest and without a policy', `${IMAGE}@sha256:00`, undefined, present, []],
  ])('%s', (_, image, policy, state, expected) => {
    expect(codes(image, policy, state)).toEqual(expected);
  });

  it.each([
    ['that every pod may use', { pulled: record(true) }, []],
    ['that was pulled with a secret', { pulled: record(false) }, ['ImagePulledWithSecret']],
    ['that was pulled by another name', { pulled: ofAnother }, ['ImagePulledWithSecret']],
    ['that the kubelet did not pull', { pulled: new Map() }, []],
    [
      'that the kubelet did not pull, and verifies',
      { pulled: new Map(), imagePullVerification: 'AlwaysVerify' },
      ['ImagePulledWithSecret'],
    ],
    ['of a kubelet that never verifies', { pulled: record(false), imagePullVerification: 'NeverVerify' }, []],
    ['of a kubelet without records', {}, []],
  ])('%s', (_, kubelet, expected) => {
    expect(codes(`${IMAGE}:1`, 'IfNotPresent', present, kubelet)).toEqual(expected);
  });

  it('of an init container counts, and each one once', () => {
    const container = (name: string) => ({ name, image: `${IMAGE}:1` });
    const pod = { spec: { initContainers: [container('i')], containers: [container('a'), container('b')] } };
    expect(imageFindings(pod, new Map([[`${IMAGE}:1`, { state: 'missing' }]]), KUBELET)).toHaveLength(1);
  });
});

describe('a path of the host', () => {
  const levels = (type: string | undefined, found: HostPathState, path = '/etc/pki') =>
    hostPathFindings(
      { spec: { containers: [], volumes: [{ name: 'v', hostPath: { path, ...(type !== undefined && { type }) } }] } },
      new Map([[path, found]]),
      '/var/lib/pod-checkpointer/workloads',
    ).map(({ code, level }) => `${code} ${level}`);

  it.each<[string | undefined, HostPathState, string[]]>([
    ['Directory', 'directory', []],
    ['Directory', 'missing', ['HostPathMissing fatal']],
    ['Directory', 'file', ['HostPathWrong fatal']],
    ['File', 'missing', ['HostPathMissing fatal']],
    ['Socket', 'file', ['HostPathWrong fatal']],
    ['CharDevice', 'block device', ['HostPathWrong fatal']],
    ['DirectoryOrCreate', 'missing', []],
    ['FileOrCreate', 'missing', []],
    [undefined, 'missing', ['HostPathMissing warning']],
    ['', 'missing', ['HostPathMissing warning']],
    [undefined, 'socket', []],
    ['Directory', 'unknown', []],
    [undefined, 'unknown', []],
  ])('of type %s that is %s', (type, found, expected) => {
    expect(levels(type, found)).toEqual(expected);
  });

  it('in the copy itself is for the verification of the store', () => {
    expect(levels('File', 'missing', '/var/lib/pod-checkpointer/workloads/a/generations/1/files/x')).toEqual([]);
  });
});

describe('whether anybody activates the copies', () => {
  const armed: UnitState = { state: 'armed', by: 'kubelet.service' };
  const not: UnitState = { state: 'not armed', detail: 'it is not installed' };
  const unseen: UnitState = { state: 'unknown', detail: 'not seen' };
  const self: WorkloadWords = { workload: SELF, generations: [{ number: 1 }], proven: 1, active: [1, 1] };
  const other: WorkloadWords = { workload: workloadCalled('kube-proxy'), generations: [{ number: 1 }], proven: 1, active: [1, 1] };
  const node = (words: readonly WorkloadWords[], boot: UnitState, host: UnitState) =>
    inspection(factsOf(words, { units: { boot, host } })).node.findings.map(({ code }) => code);

  it.each<[string, WorkloadWords[], UnitState, UnitState, string[]]>([
    ['the boot unit does', [one()], armed, not, []],
    ['the unit on the host does', [one()], not, armed, []],
    ["the checkpointer's own copy does", [one(), self], not, not, []],
    ['the copy of another workload does not', [one(), other], not, not, ['NobodyActivates']],
    ['nobody does', [one()], not, not, ['NobodyActivates']],
    ['nobody can see', [one()], unseen, unseen, ['StarterUnknown']],
    ['one unit is not there, and the other is not seen', [one()], not, unseen, ['NobodyActivates']],
  ])('%s', (_, words, boot, host, expected) => {
    expect(node(words, boot, host)).toEqual(expected);
  });

  it('does not matter to a copy that is active already: the kubelet starts it', () => {
    const { workloads } = inspection(factsOf([one(), other], { units: { boot: not, host: not } }));
    expect(workloads.map(({ name, powerCut }) => [name, powerCut.verdict])).toEqual([
      ['kube-proxy', 'recovers'],
      ['kube-scheduler', 'does not recover'],
    ]);
  });

  it('and where the kubelet reads another directory, no active copy starts either', () => {
    const kubelet = { ...KUBELET, staticPodPath: { path: '/elsewhere', from: '/var/lib/kubelet/config.yaml' } };
    expect(inspection(factsOf([other], { kubelet })).workloads[0]?.powerCut.verdict).toBe('does not recover');
  });
});

describe('the verdict of a workload', () => {
  it('is fatal where the kubelet would refuse the copy', () => {
    const container = { env: [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'c', key: 'k' } } }] };
    const { workloads } = inspection(factsOf([one({ generations: [{ number: 1, container }] })]));
    expect(workloads[0]?.findings.map(({ code }) => code)).toEqual(['KubeletWouldRefuse']);
    expect(workloads[0]?.powerCut.verdict).toBe('does not recover');
  });

  const overlap: Traits = { servesApi: true, handBack: 'overlap' };
  const exclusive: Traits = { servesApi: true, handBack: 'exclusive' };
  it.each<[string, Traits, Traits, number]>([
    ['both share', overlap, overlap, 0],
    ['neither shares', exclusive, exclusive, 0],
    ['only the copy shares', overlap, exclusive, 1],
    ['only the parent shares', exclusive, overlap, 1],
    ['it is no API server', { ...overlap, servesApi: false }, exclusive, 0],
  ])('is one with a warning where copy and parent do not agree about the port: %s', (_, copy, parent, count) => {
    const generation = { number: 1, traits: copy } as Parameters<typeof portSharingFindings>[0];
    expect(portSharingFindings(generation, parent)).toHaveLength(count);
  });
});

describe('the parent', () => {
  const sandbox = (facts: Facts, name: string, up: number | undefined) => {
    if (facts.runtime.state !== 'ok') throw new Error('the runtime answers');
    const [like] = facts.runtime.sandboxes;
    if (like === undefined) throw new Error('there is a parent');
    const [container] = like.containers;
    if (container === undefined) throw new Error('it has a container');
    const startedAt = Date.parse(ago(up ?? 0));
    return {
      ...like,
      id: name,
      name,
      uid: name,
      containers: [{ ...container, state: up === undefined ? ('exited' as const) : ('running' as const), startedAt }],
    };
  };

  it('is the pod that runs, of two in a rollout', () => {
    const facts = factsOf([one({ parentUp: 60 })]);
    for (const order of [1, -1]) {
      const sandboxes = [sandbox(facts, 'kube-scheduler-bcdfg', undefined), sandbox(facts, 'kube-scheduler-x7k2f', 30)].sort(() => order);
      const { workloads } = inspection({ ...facts, runtime: { ...facts.runtime, state: 'ok', sandboxes } });
      expect(workloads[0]?.parent).toMatchObject({ state: 'running', name: 'kube-scheduler-x7k2f' });
    }
  });

  it('runs since the newest of its containers was started', () => {
    const facts = factsOf([one({ parentUp: 600 })]);
    const pod = sandbox(facts, 'kube-scheduler-x7k2f', 600);
    const containers = [...pod.containers, ...pod.containers.map((main) => ({ ...main, name: 'second', startedAt: Date.parse(ago(20)) }))];
    const { workloads } = inspection({ ...facts, runtime: { ...facts.runtime, state: 'ok', sandboxes: [{ ...pod, containers }] } });
    expect(workloads[0]?.parent.runningSince).toBe(ago(20));
  });
});
