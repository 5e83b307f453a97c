/** What is found out only when it is asked for: in which pod this process runs, which probes the node can do, why the kubelet does not run a copy. */
import type { V1Pod } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { readinessProbes } from '../../src/checkpoint/node-probes.ts';
import type { WorkloadKey } from '../../src/checkpoint/workload.ts';
import { podUidOf } from '../../src/sources/own-pod.ts';
import { parseListeners, saidOf } from '../../src/sources/refusals.ts';
import type { ApiSnapshot } from '../../src/sources/snapshots.ts';

describe('the pod of this process', () => {
  // Lines of a container of Kubernetes 1.36 under containerd: a DaemonSet's pod, and a static pod, whose uid is a hash.
  const hosts = (uid: string) => `1203 1190 254:1 /var/lib/kubelet/pods/${uid}/etc-hosts /etc/hosts rw,relatime - ext4 /dev/vda1 rw\n`;

  it('is told by what the kubelet mounts into its containers', () => {
    expect(podUidOf(`22 1 0:21 / / rw - overlay overlay rw\n${hosts('1ef3d3b1-4873-45e8-a26b-8400b1791835')}`)).toBe(
      '1ef3d3b1-4873-45e8-a26b-8400b1791835',
    );
    expect(podUidOf(hosts('04206f1ac21d7905ec3f752b6137a248'))).toBe('04206f1ac21d7905ec3f752b6137a248');
    const log =
      '9 1 254:1 /kubelet/pods/1ef3d3b1-4873-45e8-a26b-8400b1791835/containers/c/0a1b /dev/termination-log rw - ext4 /dev/vda1 rw';
    expect(podUidOf(log)).toBe('1ef3d3b1-4873-45e8-a26b-8400b1791835');
  });

  it('is not told by the mount of a directory that holds the pods of others', () => {
    expect(podUidOf('9 1 254:1 /var/lib/kubelet/pods /var/lib/kubelet/pods rw - ext4 /dev/vda1 rw')).toBeUndefined();
    expect(
      podUidOf('9 1 254:1 /etc-hosts /var/lib/kubelet/pods/1ef3d3b1-4873-45e8-a26b-8400b1791835/etc-hosts rw - ext4 /x rw'),
    ).toBeUndefined();
    expect(podUidOf('')).toBeUndefined();
  });
});

describe('readiness probes that the node can do', () => {
  const pod = (spec: Partial<NonNullable<V1Pod['spec']>>): V1Pod => ({ spec: { hostNetwork: true, containers: [], ...spec } });

  it('are HTTP and TCP probes of a pod with the host’s network, with the kubelet’s defaults', () => {
    const probes = readinessProbes(
      pod({
        containers: [
          {
            name: 'a',
            readinessProbe: {
              httpGet: { port: 6443, path: '/readyz', scheme: 'HTTPS', httpHeaders: [{ name: 'X', value: 'y' }] },
              timeoutSeconds: 15,
            },
          },
          { name: 'b', ports: [{ name: 'web', containerPort: 8080 }], readinessProbe: { httpGet: { port: 'web' } } },
          { name: 'c', readinessProbe: { tcpSocket: { port: 2379, host: '10.0.0.1' } } },
          { name: 'd' },
        ],
      }),
    );
    expect(probes).toEqual([
      { kind: 'http', scheme: 'https', host: '127.0.0.1', port: 6443, path: '/readyz', headers: [['X', 'y']], timeoutMs: 15_000 },
      { kind: 'http', scheme: 'http', host: '127.0.0.1', port: 8080, path: '/', headers: [], timeoutMs: 1_000 },
      { kind: 'tcp', host: '10.0.0.1', port: 2379, timeoutMs: 1_000 },
    ]);
  });

  it('are done where the server listens, if that is one address of the node; of one that only the kubelet knows there is none', () => {
    const of = (flag: string, host?: string) =>
      readinessProbes(
        pod({
          containers: [
            { name: 'a', command: ['kube-apiserver', flag], readinessProbe: { httpGet: { port: 6443, ...(host && { host }) } } },
          ],
        }),
      )?.map((probe) => probe.host);
    expect(of('--bind-address=10.0.0.5')).toEqual(['10.0.0.5']);
    expect(of('--bind-address=fd00::5')).toEqual(['fd00::5']);
    for (const any of ['--bind-address=0.0.0.0', '--bind-address=::', '--secure-port=6443']) expect(of(any)).toEqual(['127.0.0.1']);
    expect(of('--bind-address=$(HOST_IP)')).toBeUndefined();
    expect(of('--bind-address=$(HOST_IP)', '10.0.0.9')).toEqual(['10.0.0.9']);
  });

  it('are those of sidecars, too, and none of init containers that end', () => {
    const readinessProbe = { tcpSocket: { port: 1 } };
    const initContainers = [
      { name: 'i', readinessProbe },
      { name: 's', restartPolicy: 'Always', readinessProbe },
    ];
    expect(readinessProbes(pod({ initContainers }))).toHaveLength(1);
  });

  it('are unknown where one is an exec or gRPC probe, has a port that nobody names, or the pod has a network of its own', () => {
    const of = (readinessProbe: NonNullable<V1Pod['spec']>['containers'][number]['readinessProbe'], hostNetwork = true) =>
      readinessProbes(pod({ hostNetwork, containers: [{ name: 'a', ...(readinessProbe && { readinessProbe }) }] }));
    expect(of({ exec: { command: ['true'] } })).toBeUndefined();
    expect(of({ grpc: { port: 1 } })).toBeUndefined();
    expect(of({ tcpSocket: { port: 'nobody' } })).toBeUndefined();
    expect(of({ tcpSocket: { port: 1 } }, false)).toBeUndefined();
    expect(of(undefined, false)).toEqual([]);
  });
});

describe('why the kubelet does not run a copy', () => {
  const key = 'kube-system/DaemonSet/a' as WorkloadKey;
  const mirror = (phase: string, workload: string, mirrored = true): V1Pod => ({
    metadata: {
      name: 'a-ds-g1-a1-node1',
      uid: `${workload} ${phase} ${mirrored}`,
      annotations: { 'pod-checkpointer.io/workload': workload, ...(mirrored && { 'kubernetes.io/config.mirror': 'x' }) },
    },
    status: { phase, reason: 'NodePorts', message: 'Pod was rejected: Node didn’t have free ports' },
  });
  const api = (...pods: V1Pod[]): ApiSnapshot => ({
    state: { state: 'ok' },
    pods: new Map(pods.map((pod) => [pod.metadata?.uid ?? '', pod])),
    object: () => ({ state: 'unknown', detail: '' }),
    absences: new Map(),
  });

  it('is what the kubelet says of the mirror pod that it failed', () => {
    expect(
      saidOf(key, api(mirror('Failed', key), mirror('Running', key), mirror('Failed', 'other'), mirror('Failed', key, false))),
    ).toEqual(['the kubelet says of a-ds-g1-a1-node1: NodePorts, Pod was rejected: Node didn’t have free ports']);
  });

  it('is unknown without an API server', () => {
    expect(saidOf(key, { ...api(mirror('Failed', key)), state: { state: 'unreachable', detail: '' } })).toEqual([]);
  });

  it('is a port that somebody listens on: by the kernel’s table', () => {
    const table = [
      '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode',
      '   0: 00000000:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 31337 1 0 100 0 0 10 0',
      '   1: 0100007F:C350 0100007F:192B 01 00000000:00000000 00:00000000 00000000     0        0 31338 1 0 20 4 30 10 -1',
    ].join('\n');
    expect(parseListeners(table)).toEqual([{ port: 6443, inode: '31337' }]);
  });
});
