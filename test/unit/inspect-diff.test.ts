import type { V1Container, V1Pod } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { podDifferences } from '../../src/inspect/diff.ts';

describe('the difference between two copies', () => {
  const PLANTED = 'planted-value';
  const container = (more: Partial<V1Container>): V1Container => ({ name: 'a', ...more });
  const pod = (...containers: V1Container[]): V1Pod => ({ spec: { containers } });
  const one = [{ name: 'X', value: PLANTED }];

  it.each([
    ['a variable that changed', pod(container({ env: one })), pod(container({ env: [{ name: 'X', value: 'other' }] }))],
    ['the first variable of a container', pod(container({})), pod(container({ env: one }))],
    ['the last variable of a container', pod(container({ env: one })), pod(container({ env: [] }))],
    ['all variables of a container', pod(container({ env: one })), pod(container({}))],
    ['one variable more', pod(container({ env: one })), pod(container({ env: [...one, { name: 'Y', value: PLANTED }] }))],
    ['a container with variables', pod(), pod(container({ env: one }))],
    ['a pod that had none', {}, pod(container({ env: one }))],
  ])('names it and never shows a value: %s', (_, before, after) => {
    for (const [was, is] of [
      [before, after],
      [after, before],
    ] as const) {
      const found = podDifferences(was as V1Pod, is as V1Pod);
      expect(found.length).toBeGreaterThan(0);
      expect(JSON.stringify(found)).not.toContain(PLANTED);
    }
  });
});
