/** What `inspect` says in each main situation, as a person reads it. `UPDATE_GOLDENS=1` writes the goldens anew; read them. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Traits } from '../../src/checkpoint/model.ts';
import type { Facts } from '../../src/inspect/facts.ts';
import { renderInspection } from '../../src/inspect/render.ts';
import { inspection } from '../../src/inspect/report.ts';
import { AT, ago, BOOT, factsOf, RETIRED, retiring, SELF, type WorkloadWords, workloadCalled } from '../support/inspect/facts.ts';

const GOLDENS = join(import.meta.dirname, '../golden/inspect');
const [APISERVER, SCHEDULER] = [workloadCalled('kube-apiserver'), workloadCalled('kube-scheduler')];
const SERVES: Traits = { servesApi: true, handBack: 'overlap' };

const self: WorkloadWords = {
  workload: SELF,
  generations: [{ number: 1 }],
  proven: 1,
  active: [1, 1],
  status: { reason: 'SelfActive', message: "the checkpointer's own copy is always active", self: true },
  parentUp: 7200,
  copyUp: 7200,
};
const protectedOne: WorkloadWords = {
  workload: APISERVER,
  generations: [
    { number: 2, age: 90_000, traits: SERVES },
    { number: 3, age: 7200, traits: SERVES },
  ],
  previous: 2,
  proven: 3,
  status: { reason: 'Protected', message: 'generation 3 is proven' },
  parentUp: 7000,
};
const scheduler = (more: Partial<WorkloadWords> = {}): WorkloadWords => ({
  workload: SCHEDULER,
  generations: [{ number: 7, age: 600 }],
  proven: 7,
  status: { reason: 'Protected', message: 'generation 7 is proven' },
  parentUp: 500,
  ...more,
});
const withoutApi = { api: { state: 'unreachable', detail: 'https://10.0.0.1:6443: connection refused' } } as const;

const SITUATIONS: readonly (readonly [name: string, facts: Facts])[] = [
  ['protected', factsOf([self, protectedOne, scheduler()])],
  [
    'saved-not-proven',
    factsOf([
      protectedOne,
      scheduler({ proven: undefined, status: { reason: 'Saved', message: 'generation 7 is stored and not proven yet', since: ago(10) } }),
    ]),
  ],
  [
    'newer-not-proven',
    factsOf([
      scheduler({
        generations: [
          { number: 6, age: 90_000 },
          { number: 7, age: 20 },
        ],
        proven: 6,
        status: { reason: 'Saved', message: 'generation 7 is stored and not proven yet' },
      }),
    ]),
  ],
  [
    'active-after-reboot',
    factsOf(
      [
        {
          ...protectedOne,
          active: [3, 1],
          parentUp: undefined,
          copyUp: 12,
          status: { reason: 'Active', message: 'the copy runs in place of its parent', since: ago(13) },
        },
        scheduler({
          active: [7, 2],
          parentUp: undefined,
          status: { reason: 'Active', message: 'the copy runs in place of its parent', since: ago(13) },
        }),
      ],
      withoutApi,
    ),
  ],
  [
    'overlap',
    factsOf([
      {
        ...protectedOne,
        active: [3, 1],
        parentUp: 4,
        copyUp: 31,
        status: { reason: 'Overlap', message: 'the parent is up; its copy leaves in 6 s', since: ago(4) },
      },
    ]),
  ],
  [
    'refused',
    factsOf([
      protectedOne,
      {
        workload: SCHEDULER,
        status: {
          reason: 'Refused',
          message:
            "no copy can be made: spec.containers[0].env[1].valueFrom.secretKeyRef: The copy would carry a Secret's value in clear in its manifest.",
        },
        parentUp: 500,
      },
    ]),
  ],
  [
    'damaged-with-another',
    factsOf([
      scheduler({
        generations: [
          { number: 6, age: 90_000 },
          { number: 7, age: 600, damage: 'files/keys/tls.key has another SHA-256 than when it was written' },
        ],
        previous: 6,
        proven: 7,
      }),
    ]),
  ],
  [
    'rolled-back',
    factsOf([
      scheduler({
        generations: [
          { number: 6, age: 90_000 },
          { number: 7, age: 600, failing: 'it crashed 5 times in 90 s' },
        ],
        proven: 6,
        active: [6, 3],
        copyUp: 400,
        parentUp: undefined,
        status: { reason: 'FailingSpec', message: "the copy runs; the parent's spec is marked failing" },
      }),
    ]),
  ],
  [
    'losses',
    factsOf([
      scheduler({
        generations: [{ number: 7, warnings: ['ImagePullSecrets spec.imagePullSecrets', 'RuntimeClass spec.runtimeClassName'] }],
      }),
    ]),
  ],
  ['damaged', factsOf([scheduler({ generations: [{ number: 7, damage: 'pod.json is missing' }] })])],
  [
    'active-damaged',
    factsOf([scheduler({ generations: [{ number: 7, damage: 'pod.json is missing' }], active: [7, 1], copyUp: 100 })], withoutApi),
  ],
  ['nothing-stored', factsOf([])],
  [
    'no-store',
    {
      ...factsOf([], { ...withoutApi, store: { state: 'missing' }, leader: { state: 'nobody', recorded: undefined } }),
      status: undefined,
      runtime: {
        state: 'unknown',
        detail: "the container runtime's socket /run/containerd/containerd.sock does not exist: is the runtime running?",
      },
    },
  ],
  [
    'runtime-unknown',
    factsOf(
      [
        {
          ...protectedOne,
          status: { reason: 'RuntimeUnknown', message: 'the container runtime does not answer: nothing is started or stopped' },
        },
      ],
      {
        runtime: {
          state: 'unknown',
          detail: 'Version: the container runtime at /run/containerd/containerd.sock did not answer within 1000 ms',
        },
      },
    ),
  ],
  [
    'no-leader',
    factsOf([protectedOne], {
      leader: { state: 'nobody', recorded: { pid: 17, where: 'host', since: ago(90_000), bootId: 'another', version: '1.0.0' } },
    }),
  ],
  [
    'nobody-activates',
    factsOf([protectedOne, scheduler()], {
      units: {
        boot: { state: 'not armed', detail: 'pod-checkpointer-boot.service is masked' },
        host: { state: 'not armed', detail: 'pod-checkpointer.service is not installed' },
      },
    }),
  ],
  ['retired', retiring(factsOf([protectedOne]))],
  [
    'foresight',
    factsOf(
      [
        {
          ...protectedOne,
          generations: [
            {
              number: 3,
              traits: { servesApi: true, handBack: 'exclusive' },
              container: { image: 'registry.example.org/private/kube-apiserver:v1.36.2' },
              spec: {
                volumes: [
                  { name: 'pki', hostPath: { path: '/etc/kubernetes/pki', type: 'Directory' } },
                  { name: 'logs', hostPath: { path: '/var/log/audit' } },
                ],
              },
              ends: [
                { path: 'files/keys/tls.crt', kind: 'certificate', from: ago(300 * 86_400), to: ago(-20 * 86_400) },
                { path: 'files/token/token', kind: 'token', from: ago(4000), to: ago(400) },
              ],
            },
            { number: 4, digest: 'digest-3', traits: SERVES },
          ],
          previous: undefined,
          newest: 4,
        },
        scheduler({
          active: [7, 1],
          edits: ['spec.containers'],
          copyUp: 60,
          generations: [{ number: 7, container: { image: 'registry.example.org/gone:1' } }],
        }),
      ],
      {
        hostPaths: new Map([
          ['/etc/kubernetes/pki', 'missing'],
          ['/var/log/audit', 'missing'],
        ]),
        runtime: {
          state: 'ok',
          name: 'containerd 2.1.1',
          sandboxes: [],
          images: new Map([
            ['registry.example.org/private/kube-apiserver:v1.36.2', { state: 'present', ref: 'sha256:a' }],
            ['registry.example.org/gone:1', { state: 'missing' }],
          ]),
        },
        kubelet: {
          staticPodPath: { path: '/etc/kubelet.d', from: '/var/lib/kubelet/config.yaml' },
          imagePullVerification: undefined,
          pulled: new Map([['sha256:a', new Map([['registry.example.org/private/kube-apiserver', { everyPod: false }]])]]),
          detail: undefined,
        },
        store: {
          state: 'ok',
          bytes: 123_456,
          damaged: 0,
          demand: { files: [4096, 900_000], directories: 4 },
          space: { bsize: 4096, blocks: 10_000, bavail: 200, files: 0, ffree: 0 },
          quarantined: ['kube-system.ds.kube-proxy.3.1760000000000'],
        },
      },
    ),
  ],
];

function expectText(name: string, text: string): void {
  const file = join(GOLDENS, `${name}.txt`);
  if (process.env['UPDATE_GOLDENS'] === '1') writeFileSync(file, text);
  expect(text, `${file} differs; if the change is meant, run the test with UPDATE_GOLDENS=1 and read the diff`).toBe(
    readFileSync(file, 'utf8'),
  );
}

describe('inspect says in the situation', () => {
  it.each(SITUATIONS)('%s', (name, facts) => {
    expectText(name, renderInspection(inspection(facts), false));
    expectText(`${name}.wide`, renderInspection(inspection(facts), true));
  });
});

describe('the verdict', () => {
  it('is not `recovers` where nothing is stored: a node that lost its marks looks like that', () => {
    expect(inspection(factsOf([])).verdict).toBe('does not recover');
  });

  it('is, where the retired API server would be brought back', () => {
    const facts = factsOf([]);
    const one = [...RETIRED.stored.generations.values()].map(
      (generation) => [generation.number, { ...generation, traits: SERVES }] as const,
    );
    const retired = [{ ...RETIRED, stored: { ...RETIRED.stored, generations: new Map(one) } }];
    const disk = facts.disk.state === 'ok' ? { ...facts.disk, store: { ...facts.disk.store, retired } } : facts.disk;
    expect(inspection({ ...facts, disk }).verdict).toBe('recovers');
  });

  it('is none without a warning while nobody can say whether the images are there', () => {
    const image = 'registry.example.org/component:v1';
    const images = new Map([[image, { state: 'unknown', detail: 'deadline exceeded' } as const]]);
    const { verdict, workloads } = inspection(factsOf([protectedOne], { runtime: { state: 'ok', sandboxes: [], images } }));
    expect([verdict, workloads[0]?.findings.map(({ code }) => code)]).toEqual(['recovers with warnings', ['ImageUnknown']]);
    const silent = inspection(factsOf([protectedOne], { runtime: { state: 'unknown', detail: 'no answer' } }));
    expect([silent.verdict, silent.node.findings.map(({ code }) => code)]).toEqual(['recovers with warnings', ['RuntimeUnknown']]);
  });
});

describe('the document', () => {
  it('says version 2, its own time, and nothing that JSON cannot hold', () => {
    const report = inspection(retiring(factsOf([self, protectedOne])));
    expect(JSON.parse(JSON.stringify(report))).toEqual(report);
    expect(report).toMatchObject({ version: 2, at: '2026-11-21T12:00:00.000Z', verdict: 'recovers', node: { bootId: BOOT } });
    expect(report.retired).toEqual([
      { workload: 'kube-system/DaemonSet/kube-proxy', retiredAt: new Date(AT - RETIRED.age).toISOString(), generations: [4] },
    ]);
  });

  it('takes any reason that a daemon of another version writes', () => {
    const status = { reason: 'SomethingNew' as 'Protected', message: 'x' };
    expect(inspection(factsOf([scheduler({ status })])).workloads[0]?.reason).toBe('SomethingNew');
  });
});
