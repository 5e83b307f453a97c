import type { V1Pod } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { makeCopy } from '../../src/checkpoint/copy.ts';
import type { ApiObject, ObjectState } from '../../src/checkpoint/copy-types.ts';
import { decide } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY } from '../../src/checkpoint/memory.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { generation, observation, POLICY, parent, runtimePod, SCHEDULER, stored, workload } from '../support/observations.ts';

const pod: V1Pod = {
  metadata: {
    name: 'scheduler-x',
    namespace: 'kube-system',
    uid: 'u',
    ownerReferences: [{ apiVersion: 'apps/v1', kind: 'DaemonSet', name: 'scheduler', uid: 'ds', controller: true }],
  },
  spec: {
    nodeName: 'master-1',
    hostNetwork: true,
    containers: [{ name: 'c', image: 'i', volumeMounts: [{ name: 'tls', mountPath: '/tls' }] }],
    volumes: [
      { name: 'tls', secret: { secretName: 'tls' } },
      { name: 'late', configMap: { name: 'late' } },
    ],
  },
};
const DENIED = 'HTTP 403 for the watch of secrets; needed: list and watch on secrets "tls" in namespace kube-system';

const outcome = (secret: ObjectState<ApiObject>) =>
  makeCopy(
    pod,
    ({ kind }) => (kind === 'Secret' ? secret : kind === 'ConfigMap' ? { state: 'absent' } : { state: 'unknown', detail: '' }),
    { secretEnv: 'refuse', kubernetesService: { host: '127.0.0.1', port: 6443 } },
  );

describe('a Secret that the API server denies', () => {
  it('is told apart from an object that is not there', () => {
    expect(outcome({ state: 'absent' })).toEqual({ kind: 'waiting', objects: ['ConfigMap kube-system/late', 'Secret kube-system/tls'] });
    expect(outcome({ state: 'denied', detail: DENIED })).toEqual({
      kind: 'waiting',
      objects: ['ConfigMap kube-system/late', `Secret kube-system/tls (${DENIED})`],
      denied: [`Secret kube-system/tls (${DENIED})`],
    });
  });

  it('is named with the verbs that are needed and what to do, beside what else is waited for and what is kept', () => {
    const seen = workload(SCHEDULER, {
      parent: { state: 'present', pod: parent(outcome({ state: 'denied', detail: DENIED })) },
      parentPods: [runtimePod('running')],
      stored: stored([generation(1, 'old', { servesApi: false, handBack: 'exclusive' })], { newest: 1, proven: 1 }),
    });
    expect(decide(EMPTY_MEMORY, observation([seen]), POLICY).reports.get(workloadKey(SCHEDULER))).toEqual({
      reason: 'ObjectsDenied',
      message:
        `the API server denies the checkpointer Secret kube-system/tls (${DENIED}): grant its identity what is needed; ` +
        'waiting for ConfigMap kube-system/late; generation 1 of an earlier spec is kept',
    });
  });
});
