import { expect, test } from 'vitest';
import { materialize } from '../../src/checkpoint/materialize.ts';
import { violations } from '../../src/checkpoint/static-pod-rules.ts';
import { container, copyOf, markedPod, secret } from '../support/marked-pods.ts';

test('a self-hosted kubelet is a workload like any other: its copy is a static pod that the kubelet of the host takes', () => {
  const pod = markedPod({
    hostNetwork: true,
    hostPID: true,
    containers: [
      container({
        name: 'kubelet',
        command: ['kubelet', '--lock-file=/run/lock/kubelet.lock', '--exit-on-lock-contention'],
        ports: [{ containerPort: 10250, hostPort: 10250 }],
        securityContext: { privileged: true },
        volumeMounts: [
          { name: 'kubelet', mountPath: '/var/lib/kubelet', mountPropagation: 'Bidirectional' },
          { name: 'run', mountPath: '/run' },
          { name: 'config', mountPath: '/etc/kubernetes/bootstrap' },
        ],
      }),
    ],
    volumes: [
      { name: 'kubelet', hostPath: { path: '/var/lib/kubelet' } },
      { name: 'run', hostPath: { path: '/run' } },
      { name: 'config', secret: { secretName: 'kubelet-config' } },
    ],
  });
  const copy = copyOf(pod, { 'Secret/kubelet-config': secret({ kubeconfig: 'x' }) });
  // Two kubelets cannot hold its port at the same time, and its lock decides which one works.
  expect(copy.traits).toEqual({ servesApi: false, handBack: 'exclusive' });
  const placed = materialize(copy.pod, { generationDir: '/var/lib/pod-checkpointer/w/1', generation: 1, activation: 1 });
  expect(violations(placed, 'master-1')).toEqual([]);
  expect(placed.spec?.hostPID).toBe(true);
  expect(placed.spec?.containers[0]).toMatchObject({ securityContext: { privileged: true } });
});
