/** What the kubelet tells the runtime of a pod and its containers (pkg/kubelet/kuberuntime/kuberuntime_sandbox.go, labels.go). */
import { join } from 'node:path';
import type { V1Container } from '@kubernetes/client-node';
import { ContainerConfig, NamespaceMode, PodSandboxConfig } from '../../sources/cri/generated/runtime.ts';
import { imageSpec } from './cri-client.ts';
import { type EnvVar, expand } from './environment.ts';
import { CONTAINER_NAME_LABEL, POD_NAME_LABEL, POD_NAMESPACE_LABEL, POD_UID_LABEL, type Pod } from './pod.ts';
import type { HostMount } from './volumes.ts';

/** `<namespace>_<name>_<uid>`, as under /var/log/pods. */
export function podLogDirectory(logsDir: string, pod: { readonly namespace: string; readonly name: string; readonly uid: string }): string {
  const { namespace, name, uid } = pod;
  return join(logsDir, `${namespace}_${name}_${uid}`);
}

export function sandboxConfig(pod: Pod, attempt: number, logsDir: string): PodSandboxConfig {
  const { name, namespace, uid, labels, annotations } = pod.metadata;
  return PodSandboxConfig.fromPartial({
    metadata: { name, namespace, uid, attempt },
    hostname: pod.spec.hostname ?? name,
    logDirectory: podLogDirectory(logsDir, pod.metadata),
    labels: { ...labels, [POD_NAME_LABEL]: name, [POD_NAMESPACE_LABEL]: namespace, [POD_UID_LABEL]: uid },
    annotations: annotations ?? {},
    linux: {
      securityContext: {
        namespaceOptions: {
          network: pod.spec.hostNetwork === true ? NamespaceMode.NODE : NamespaceMode.POD,
          pid: pod.spec.hostPID === true ? NamespaceMode.NODE : NamespaceMode.CONTAINER,
          ipc: pod.spec.hostIPC === true ? NamespaceMode.NODE : NamespaceMode.POD,
        },
      },
    },
  });
}

export function containerConfig(
  pod: Pod,
  container: V1Container,
  attempt: number,
  env: readonly EnvVar[],
  mounts: readonly HostMount[],
): ContainerConfig {
  const { name, namespace, uid } = pod.metadata;
  const variables = new Map(env.map(({ key, value }) => [key, value]));
  const expanded = (words: readonly string[] | undefined) =>
    (words ?? []).map((word) => expand(word, (variable) => variables.get(variable)));
  return ContainerConfig.fromPartial({
    metadata: { name: container.name, attempt },
    image: imageSpec(container.image ?? ''),
    command: expanded(container.command),
    args: expanded(container.args),
    workingDir: container.workingDir ?? '',
    envs: env.map(({ key, value }) => ({ key, value })),
    mounts: mounts.map((mount) => ({ ...mount })),
    labels: { [CONTAINER_NAME_LABEL]: container.name, [POD_NAME_LABEL]: name, [POD_NAMESPACE_LABEL]: namespace, [POD_UID_LABEL]: uid },
    annotations: {
      'io.kubernetes.container.restartCount': String(attempt),
      'io.kubernetes.container.terminationMessagePath': container.terminationMessagePath ?? '/dev/termination-log',
      'io.kubernetes.pod.terminationGracePeriod': String(pod.spec.terminationGracePeriodSeconds ?? 30),
    },
    logPath: join(container.name, `${attempt}.log`),
  });
}
