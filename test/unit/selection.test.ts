import { describe, expect, it } from 'vitest';
import { CHECKPOINT, CHECKPOINT_OF, CONFIG_MIRROR, CONFIG_SOURCE, WORKLOAD } from '../../src/checkpoint/annotations.ts';
import { isMarked } from '../../src/checkpoint/selection.ts';
import { markedPod } from '../support/marked-pods.ts';

describe('which pods are kept', () => {
  it.each([
    ['a pod with the annotation "true"', {}, true],
    ['a pod that the kubelet says comes from the API', { [CONFIG_SOURCE]: 'api' }, true],
    ['a pod with the annotation "false"', { [CHECKPOINT]: 'false' }, false],
    ['a pod with the annotation "True": only the exact word marks', { [CHECKPOINT]: 'True' }, false],
    ['a pod with an empty annotation', { [CHECKPOINT]: '' }, false],
    ['a static pod from a file', { [CONFIG_SOURCE]: 'file' }, false],
    ['a static pod from a URL', { [CONFIG_SOURCE]: 'http' }, false],
    ['a mirror pod', { [CONFIG_MIRROR]: '3f1a' }, false],
    ['the mirror of a static pod as the API server has it', { [CONFIG_MIRROR]: '3f1a', [CONFIG_SOURCE]: 'file' }, false],
    ['a copy of ours', { [CHECKPOINT_OF]: 'proxy', [WORKLOAD]: 'kube-system/DaemonSet/proxy' }, false],
    ["a copy that bootkube's checkpointer made", { [CHECKPOINT_OF]: 'proxy-x7k2f' }, false],
  ])('%s', (_, annotations, expected) => {
    expect(isMarked(markedPod({}, { annotations }))).toBe(expected);
  });

  it('a pod without annotations is not kept', () => {
    expect(isMarked({ metadata: { name: 'a', namespace: 'b' } })).toBe(false);
    expect(isMarked({})).toBe(false);
  });

  it('a marked pod of any namespace is kept', () => {
    expect(isMarked(markedPod({}, { namespace: 'ingress' }))).toBe(true);
  });
});
