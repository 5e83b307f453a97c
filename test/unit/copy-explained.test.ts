import type { V1Container, V1Pod } from '@kubernetes/client-node';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonical } from '../../src/checkpoint/copy/canonical.ts';
import { explainCopy } from '../../src/checkpoint/copy.ts';
import { container, lookupIn, markedPod, REFUSE } from '../support/marked-pods.ts';
import { SEED } from '../support/seed.ts';
import { givenPods } from '../support/valid-pods.ts';

/** The API server leaves out lists that are empty. */
const text = (value: unknown): string => JSON.stringify(Array.isArray(value) && value.length === 0 ? undefined : canonical(value)) ?? '';
const same = (a: unknown, b: unknown): boolean => text(a) === text(b);

function* differing(a: object = {}, b: object = {}, field: string): Generator<string> {
  for (const key of new Set([...Object.keys(a), ...Object.keys(b)]))
    if (!same(Reflect.get(a, key), Reflect.get(b, key))) yield `${field}.${key}`;
}

/**
 * Members of containers in which a copy is not as its parent, and variables that it has not, or otherwise. That mounts are read-only, and of which volume, is
 * said of the volume.
 */
function* inContainers(of: readonly V1Container[] = [], copies: readonly V1Container[] = [], list: string): Generator<string> {
  for (const [i, one] of of.entries()) {
    const field = `spec.${list}[${i}]`;
    for (const member of differing(one, copies[i], field)) if (!member.endsWith('.volumeMounts')) yield member;
    for (const [j, variable] of (one.env ?? []).entries())
      if (!copies[i]?.env?.some((other) => same(other, variable))) yield `${field}.env[${j}]`;
  }
}

function differences({ spec }: V1Pod, { spec: copy }: V1Pod): string[] {
  const lists = new Set(['spec.containers', 'spec.initContainers', 'spec.volumes']);
  return [
    ...[...differing(spec, copy, 'spec')].filter((field) => !lists.has(field)),
    ...inContainers(spec?.containers, copy?.containers, 'containers'),
    ...inContainers(spec?.initContainers, copy?.initContainers, 'initContainers'),
    ...(spec?.volumes ?? []).flatMap((volume, i) => (same(volume, copy?.volumes?.[i]) ? [] : [`spec.volumes[${i}]`])),
  ];
}

/** What envFrom becomes stands in env. */
const explains = (told: string, field: string): boolean =>
  told === field || told.startsWith(`${field}.`) || told.startsWith(`${field}[`) || told.startsWith(field.replace(/\.env$/, '.envFrom'));

describe('what is said of a copy', () => {
  it('names a rule for everything that the copy has otherwise than its parent', () => {
    let copies = 0;
    fc.assert(
      fc.property(givenPods, ({ pod, lookup, secretEnv }) => {
        const { outcome, changes } = explainCopy(pod, lookup, { secretEnv });
        if (outcome.kind !== 'copy') return;
        copies += 1;
        const untold = differences(pod, outcome.copy.pod).filter((field) => !changes.some((one) => explains(one.field, field)));
        expect(untold).toEqual([]);
      }),
      { numRuns: 500, seed: SEED },
    );
    expect(copies).toBeGreaterThan(50);
  });

  it('names the rule for the volume of the pod’s own token, whose name the API server made up', () => {
    const volumes = [{ name: 'kube-api-access-x7k2f', projected: { sources: [] } }];
    const { changes } = explainCopy(markedPod({ volumes, containers: [container()] }), lookupIn({}), REFUSE);
    expect(changes.map(({ field }) => field)).toContain('spec.volumes[0].name');
  });
});
