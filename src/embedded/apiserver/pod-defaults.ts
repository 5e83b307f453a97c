/** Defaults of a pod's spec, as far as a kubelet or a controller sees a difference (pkg/apis/core/v1/defaults.go). */
import type { V1Container, V1PodSpec, V1Probe, V1Volume } from '@kubernetes/client-node';

export function defaultPodSpec(spec: V1PodSpec): V1PodSpec {
  const hostNetwork = spec.hostNetwork === true;
  return {
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 30,
    dnsPolicy: 'ClusterFirst',
    securityContext: {},
    schedulerName: 'default-scheduler',
    enableServiceLinks: true,
    ...spec,
    ...(spec.volumes === undefined ? {} : { volumes: spec.volumes.map(defaultVolume) }),
    ...(spec.initContainers === undefined ? {} : { initContainers: spec.initContainers.map((c) => defaultContainer(c, hostNetwork)) }),
    containers: spec.containers.map((container) => defaultContainer(container, hostNetwork)),
  };
}

function defaultContainer(container: V1Container, hostNetwork: boolean): V1Container {
  const { livenessProbe, readinessProbe, startupProbe, ports } = container;
  return {
    imagePullPolicy: /(^|\/)[^/:@]+(:latest)?$/.test(container.image ?? '') ? 'Always' : 'IfNotPresent',
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'File',
    resources: {},
    ...container,
    ...(livenessProbe === undefined ? {} : { livenessProbe: defaultProbe(livenessProbe) }),
    ...(readinessProbe === undefined ? {} : { readinessProbe: defaultProbe(readinessProbe) }),
    ...(startupProbe === undefined ? {} : { startupProbe: defaultProbe(startupProbe) }),
    // A pod in the host's network holds every port that it declares.
    ...(ports === undefined
      ? {}
      : { ports: ports.map((port) => ({ protocol: 'TCP', ...(hostNetwork ? { hostPort: port.containerPort } : {}), ...port })) }),
  };
}

function defaultProbe(probe: V1Probe): V1Probe {
  return {
    timeoutSeconds: 1,
    periodSeconds: 10,
    successThreshold: 1,
    failureThreshold: 3,
    ...probe,
    ...(probe.httpGet === undefined ? {} : { httpGet: { path: '/', scheme: 'HTTP', ...probe.httpGet } }),
  };
}

/** Permission bits in decimal, as JSON has them. */
const VOLUME_FILE_MODE = 0o644;

function defaultVolume(volume: V1Volume): V1Volume {
  const { secret, configMap, downwardAPI, projected, hostPath } = volume;
  return {
    ...volume,
    ...(secret === undefined ? {} : { secret: { defaultMode: VOLUME_FILE_MODE, ...secret } }),
    ...(configMap === undefined ? {} : { configMap: { defaultMode: VOLUME_FILE_MODE, ...configMap } }),
    ...(downwardAPI === undefined ? {} : { downwardAPI: { defaultMode: VOLUME_FILE_MODE, ...downwardAPI } }),
    ...(projected === undefined ? {} : { projected: { defaultMode: VOLUME_FILE_MODE, ...projected } }),
    ...(hostPath === undefined ? {} : { hostPath: { type: '', ...hostPath } }),
  };
}

/** Values of the two priority classes that every cluster has; undefined for a class that there is not. */
export function priorityOf(className: string): number | undefined {
  const classes: Readonly<Record<string, number>> = {
    '': 0,
    'system-cluster-critical': 2_000_000_000,
    'system-node-critical': 2_000_001_000,
  };
  return classes[className];
}

export function qosClassOf(spec: V1PodSpec): string {
  const containers = [...(spec.initContainers ?? []), ...spec.containers];
  const wants = containers.map(({ resources }) => ({
    requests: resources?.requests ?? resources?.limits ?? {},
    limits: resources?.limits ?? {},
  }));
  if (wants.every((want) => Object.keys(want.requests).length === 0 && Object.keys(want.limits).length === 0)) return 'BestEffort';
  const guaranteed = wants.every((want) =>
    ['cpu', 'memory'].every((name) => want.limits[name] !== undefined && want.requests[name] === want.limits[name]),
  );
  return guaranteed ? 'Guaranteed' : 'Burstable';
}
