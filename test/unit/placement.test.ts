import type { V1NodeSelectorRequirement, V1NodeSelectorTerm, V1PodSpec, V1Taint, V1Toleration } from '@kubernetes/client-node';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { daemonPlacement, type NodePlace } from '../../src/checkpoint/placement.ts';
import { asPod, type KubeObject } from '../../src/embedded/apiserver/objects.ts';
import { planDaemonSet } from '../../src/embedded/controllers/daemonset/plan.ts';
import { type DaemonSet, podFor } from '../../src/embedded/controllers/daemonset/template.ts';
import { daemonSet } from '../support/embedded/objects.ts';

const NODE: NodePlace = {
  name: 'n1',
  labels: { role: 'master', cores: '8', empty: '', '-': '-3' },
  taints: [],
};

type Template = Partial<V1PodSpec>;

const required = (...nodeSelectorTerms: V1NodeSelectorTerm[]): Template => ({
  affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } } },
});
const label = (key: string, operator: string, ...values: string[]): Template => required({ matchExpressions: [{ key, operator, values }] });
const field = (key: string, operator: string, ...values: string[]): Template => required({ matchFields: [{ key, operator, values }] });

describe('a DaemonSet without taints on the node', () => {
  test.each<[string, Template, boolean]>([
    ['runs everywhere when it asks for nothing', {}, true],
    ['runs on the node that its nodeName names', { nodeName: 'n1' }, true],
    ['does not run on another', { nodeName: 'n2' }, false],
    ['runs where all labels of nodeSelector are', { nodeSelector: { role: 'master', empty: '' } }, true],
    ['does not run where one is missing', { nodeSelector: { role: 'master', zone: 'a' } }, false],
    ['does not run where one has another value', { nodeSelector: { role: 'worker' } }, false],
    ['In: one of the values', label('role', 'In', 'worker', 'master'), true],
    ['In: none of the values', label('role', 'In', 'worker'), false],
    ['In: no such label', label('zone', 'In', ''), false],
    ['NotIn: another value', label('role', 'NotIn', 'worker'), true],
    ['NotIn: no such label', label('zone', 'NotIn', 'a'), true],
    ['NotIn: that value', label('role', 'NotIn', 'master'), false],
    ['Exists', label('empty', 'Exists'), true],
    ['Exists: no such label', label('zone', 'Exists'), false],
    ['DoesNotExist', label('zone', 'DoesNotExist'), true],
    ['DoesNotExist: there it is', label('empty', 'DoesNotExist'), false],
    ['Gt', label('cores', 'Gt', '7'), true],
    ['Gt: the same number', label('cores', 'Gt', '8'), false],
    ['Gt: by number, not by text', label('cores', 'Gt', '10'), false],
    ['Lt', label('cores', 'Lt', '10'), true],
    ['Lt: negative numbers', label('-', 'Lt', '-2'), true],
    ['Gt: no such label', label('zone', 'Gt', '0'), false],
    ['Gt: a label that is no number', label('empty', 'Gt', '-1'), false],
    ['Lt: a bound that is no integer', label('cores', 'Lt', '9.5'), false],
    ['Lt: a bound of more than 64 bits', label('cores', 'Lt', '9223372036854775808'), false],
    ['an operator that nobody knows', label('cores', 'Near', '8'), false],
    ['metadata.name In', field('metadata.name', 'In', 'n1'), true],
    ['metadata.name In, another', field('metadata.name', 'In', 'n2'), false],
    ['metadata.name NotIn', field('metadata.name', 'NotIn', 'n2'), true],
    ['metadata.name In, two values, which no field selector can say', field('metadata.name', 'In', 'n1', 'n2'), false],
    ['another field', field('metadata.uid', 'NotIn', 'x'), false],
    ['no term at all', required(), false],
    ['a term without requirements', required({}), false],
    ['one term of several is enough', required({}, { matchExpressions: [{ key: 'role', operator: 'Exists' }] }), true],
    [
      'all requirements of a term have to hold',
      required({
        matchExpressions: [{ key: 'role', operator: 'Exists' }],
        matchFields: [{ key: 'metadata.name', operator: 'In', values: ['n2'] }],
      }),
      false,
    ],
    ['nodeSelector and affinity have to hold', { ...label('role', 'Exists'), nodeSelector: { zone: 'a' } }, false],
    [
      'a preference decides nothing',
      {
        affinity: {
          nodeAffinity: {
            preferredDuringSchedulingIgnoredDuringExecution: [
              { weight: 1, preference: { matchExpressions: [{ key: 'zone', operator: 'Exists' }] } },
            ],
          },
        },
      },
      true,
    ],
  ])('%s', (_, template, runs) => {
    expect(daemonPlacement(template, NODE)).toBe(runs ? 'run' : 'none');
  });
});

const taint = (key: string, effect: string, value?: string): V1Taint => ({ key, effect, ...(value !== undefined && { value }) });

describe('a taint', () => {
  test.each<[string, V1Taint, Template, string]>([
    ['NoSchedule lets a pod stay and makes none', taint('a', 'NoSchedule'), {}, 'keep'],
    ['NoExecute deletes', taint('a', 'NoExecute'), {}, 'none'],
    ['PreferNoSchedule decides nothing', taint('a', 'PreferNoSchedule'), {}, 'run'],
    ['is tolerated by Exists without key', taint('a', 'NoExecute', 'x'), { tolerations: [{ operator: 'Exists' }] }, 'run'],
    ['is tolerated by its key', taint('a', 'NoSchedule', 'x'), { tolerations: [{ key: 'a', operator: 'Exists' }] }, 'run'],
    ['is not tolerated by another key', taint('a', 'NoSchedule'), { tolerations: [{ key: 'b', operator: 'Exists' }] }, 'keep'],
    ['is tolerated by its value, Equal by default', taint('a', 'NoSchedule', 'x'), { tolerations: [{ key: 'a', value: 'x' }] }, 'run'],
    ['is not tolerated by another value', taint('a', 'NoSchedule', 'x'), { tolerations: [{ key: 'a', value: 'y' }] }, 'keep'],
    ['without value is tolerated by one without', taint('a', 'NoSchedule'), { tolerations: [{ key: 'a', operator: 'Equal' }] }, 'run'],
    [
      'is not tolerated for another effect',
      taint('a', 'NoExecute'),
      { tolerations: [{ key: 'a', operator: 'Exists', effect: 'NoSchedule' }] },
      'none',
    ],
    [
      'above a number is tolerated by Gt',
      taint('a', 'NoSchedule', '10'),
      { tolerations: [{ key: 'a', operator: 'Gt', value: '9' }] },
      'run',
    ],
    ['below it is not', taint('a', 'NoSchedule', '8'), { tolerations: [{ key: 'a', operator: 'Gt', value: '9' }] }, 'keep'],
    [
      'below a number is tolerated by Lt',
      taint('a', 'NoSchedule', '8'),
      { tolerations: [{ key: 'a', operator: 'Lt', value: '9' }] },
      'run',
    ],
  ])('%s', (_, one, template, placement) => {
    expect(daemonPlacement(template, { ...NODE, taints: [one] })).toBe(placement);
  });

  test.each<[string, string, string]>([
    ['not-ready', 'NoExecute', 'run'],
    ['unreachable', 'NoExecute', 'run'],
    ['disk-pressure', 'NoSchedule', 'run'],
    ['memory-pressure', 'NoSchedule', 'run'],
    ['pid-pressure', 'NoSchedule', 'run'],
    ['unschedulable', 'NoSchedule', 'run'],
    ['not-ready', 'NoSchedule', 'keep'],
    ['unreachable', 'NoSchedule', 'keep'],
    ['network-unavailable', 'NoSchedule', 'keep'],
    ['out-of-service', 'NoExecute', 'none'],
  ])('node.kubernetes.io/%s, %s: %s, as the controller adds tolerations', (name, effect, placement) => {
    expect(daemonPlacement({}, { ...NODE, taints: [taint(`node.kubernetes.io/${name}`, effect)] })).toBe(placement);
  });

  test('network-unavailable is tolerated by what has the network of its host', () => {
    const node = { ...NODE, taints: [taint('node.kubernetes.io/network-unavailable', 'NoSchedule')] };
    expect(daemonPlacement({ hostNetwork: true }, node)).toBe('run');
  });
});

const keys = fc.constantFrom('a', 'b', 'node.kubernetes.io/not-ready', 'node.kubernetes.io/unschedulable');
const values = fc.constantFrom('', 'x', 'y', '1', '2', '10', '-1', '+1', '1.0', '01', '9223372036854775808');
const effects = fc.constantFrom('NoSchedule', 'NoExecute', 'PreferNoSchedule');
const optional = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined, freq: 3 });
const requirement: fc.Arbitrary<V1NodeSelectorRequirement> = fc.record({
  key: fc.constantFrom('a', 'b', 'metadata.name'),
  operator: fc.constantFrom('In', 'NotIn', 'Exists', 'DoesNotExist', 'Gt', 'Lt', 'Other'),
  values: fc.array(fc.oneof(values, fc.constantFrom('n1', 'n2')), { maxLength: 2 }),
});
const term: fc.Arbitrary<V1NodeSelectorTerm> = fc.record(
  { matchExpressions: fc.array(requirement, { maxLength: 2 }), matchFields: fc.array(requirement, { maxLength: 1 }) },
  { requiredKeys: [] },
);
const toleration = fc.record(
  { key: keys, operator: fc.constantFrom('Exists', 'Equal', 'Gt', 'Lt'), value: values, effect: effects },
  { requiredKeys: [] },
) as fc.Arbitrary<V1Toleration>;
const template = fc
  .record({
    nodeName: optional(fc.constantFrom('n1', 'n2')),
    nodeSelector: optional(fc.dictionary(fc.constantFrom('a', 'b'), values, { maxKeys: 1 })),
    terms: optional(fc.array(term, { maxLength: 2 })),
    tolerations: fc.array(toleration, { maxLength: 2 }),
    hostNetwork: fc.boolean(),
  })
  .map(
    ({ nodeName, nodeSelector, terms, tolerations, hostNetwork }): Template => ({
      tolerations,
      hostNetwork,
      ...(nodeName !== undefined && { nodeName }),
      ...(nodeSelector !== undefined && { nodeSelector }),
      ...(terms !== undefined && required(...terms)),
    }),
  );
const place = fc.record({
  name: fc.constant('n1'),
  labels: fc.dictionary(fc.constantFrom('a', 'b'), values, { maxKeys: 2 }),
  taints: fc.array(fc.record({ key: keys, effect: effects, value: values }), { maxLength: 2 }),
});

describe('the controller of the embedded node', () => {
  test('makes a pod, keeps one and deletes one where the rule says so', () => {
    const seen = new Set<string>();
    fc.assert(
      fc.property(template, place, (spec, node) => {
        const placement = daemonPlacement(spec, node);
        seen.add(placement);
        const made = daemonSet('set', {}, spec) as DaemonSet;
        const set: DaemonSet = { ...made, metadata: { ...made.metadata, uid: 'set-uid', generation: 1 } };
        const object = {
          apiVersion: 'v1',
          kind: 'Node',
          metadata: { name: node.name, labels: node.labels },
          spec: { taints: node.taints },
        } as KubeObject;
        const pod = podFor(set, node.name) as KubeObject;
        const there = asPod({ ...pod, metadata: { ...pod.metadata, name: 'p' }, spec: { ...(pod.spec as object), nodeName: node.name } });
        const plan = (pods: Parameters<typeof planDaemonSet>[0]['pods']) =>
          planDaemonSet({ set, nodes: [object], pods, now: 0, backoff: () => 0 });
        expect(plan([]).create).toEqual(placement === 'run' ? ['n1'] : []);
        expect(plan([there]).remove).toHaveLength(placement === 'none' ? 1 : 0);
      }),
      { numRuns: 2_000 },
    );
    expect([...seen].toSorted()).toEqual(['keep', 'none', 'run']);
  });
});
