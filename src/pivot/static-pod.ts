/** The static pods of a pivot: with a shared port for the time beside the DaemonSet's pod, and made again from a DaemonSet on the way back. Pure. */
import { join, parse } from 'node:path';
import type { V1Container, V1DaemonSet, V1EnvVar, V1Pod, V1Probe } from '@kubernetes/client-node';
import { CHECKPOINT, HAND_BACK } from '../checkpoint/annotations.ts';
import { type Component, isMainContainer } from './component.ts';
import { ADDRESS_FLAGS, APP_LABEL, HOST_IP, type NodeFacts, PORT_SHARING, toDaemonSet } from './daemonset.ts';
import { flagValue, withFlag, withoutFlag } from './flags.ts';

/**
 * The same pod, its port shared, under another name. A static pod of the same name would wait until the kubelet has ended the old one, which takes as long
 * as the old one's clients keep their watches (30 s); under another name it starts at once, and the port is free as soon as the old one is told to end.
 */
export function sharedStaticPod(component: Component, pod: V1Pod): V1Pod {
  return {
    ...pod,
    metadata: { ...pod.metadata, name: sharedName(pod.metadata?.name ?? component) },
    ...(pod.spec === undefined
      ? {}
      : {
          spec: {
            ...pod.spec,
            containers: pod.spec.containers.map((one) =>
              isMainContainer(component, one) ? withFlag(withoutPorts(one), PORT_SHARING, 'true') : withoutPorts(one),
            ),
          },
        }),
  };
}

export const sharedName = (name: string): string => `${name}-shared`;

/** Its manifest, beside the one that it is made of. */
export function sharedFile(file: string): string {
  const { dir, name, ext } = parse(file);
  return join(dir, `${name}-shared${ext}`);
}

/**
 * A port that is declared keeps the next pod that declares it from being admitted while the old one is only just ending; nothing needs the declaration
 * but the probes that name it.
 */
function withoutPorts(container: V1Container): V1Container {
  const { ports, ...rest } = container;
  if (ports === undefined) return container;
  const numbers = new Map(ports.map(({ name, containerPort }) => [name, containerPort] as const));
  const probe = (one: V1Probe | undefined): V1Probe | undefined =>
    one?.httpGet === undefined || typeof one.httpGet.port === 'number'
      ? one
      : { ...one, httpGet: { ...one.httpGet, port: numbers.get(one.httpGet.port) ?? one.httpGet.port } };
  return withProbes(rest, (name) => probe(container[name]));
}

const PROBES = ['livenessProbe', 'readinessProbe', 'startupProbe'] as const;

function withProbes(container: V1Container, probe: (name: (typeof PROBES)[number]) => V1Probe | undefined): V1Container {
  const probes = PROBES.flatMap((name) => {
    const found = probe(name);
    return found === undefined ? [] : [[name, found] as const];
  });
  return { ...container, ...Object.fromEntries(probes) };
}

/**
 * The static pod of a DaemonSet as it is now. What the pivot made of the original is undone, everything that was changed since is kept: of the original come
 * the metadata, the node's own address, the ports and the probes that name them; of the DaemonSet everything else. `original` is the manifest before the pivot.
 */
export function toStaticPod(component: Component, original: V1Pod, daemonSet: V1DaemonSet, node: NodeFacts): V1Pod {
  const template = daemonSet.spec?.template;
  const first = toDaemonSet(component, original, node);
  const before = first.kind === 'daemonset' ? first.daemonSet.spec?.template.spec : undefined;
  const {
    nodeSelector: _,
    tolerations: __,
    automountServiceAccountToken: ___,
    enableServiceLinks: ____,
    ...spec
  } = template?.spec ?? {
    containers: [],
  };
  const labels = { ...template?.metadata?.labels };
  const annotations = { ...template?.metadata?.annotations, ...original.metadata?.annotations };
  for (const key of [APP_LABEL]) if (original.metadata?.labels?.[key] === undefined) delete labels[key];
  for (const key of [CHECKPOINT, HAND_BACK]) if (original.metadata?.annotations?.[key] === undefined) delete annotations[key];
  const was = original.spec;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...original.metadata,
      ...(Object.keys(labels).length === 0 ? {} : { labels }),
      ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    },
    spec: {
      ...withoutServerDefaults(spec),
      ...(was?.nodeSelector === undefined ? {} : { nodeSelector: was.nodeSelector }),
      // Of a static pod nobody finds out what its priorityClassName comes to: kubeadm writes the number, too.
      ...(was?.priority === undefined ? {} : { priority: was.priority }),
      ...(was?.tolerations === undefined ? {} : { tolerations: was.tolerations }),
      ...(was?.automountServiceAccountToken === undefined ? {} : { automountServiceAccountToken: was.automountServiceAccountToken }),
      ...(was?.enableServiceLinks === undefined ? {} : { enableServiceLinks: was.enableServiceLinks }),
      containers: spec.containers.map((container) => {
        const old = was?.containers.find(({ name }) => name === container.name);
        const made = before?.containers.find(({ name }) => name === container.name);
        const plain = isMainContainer(component, container) ? withOwnAddress(container, old, node) : container;
        return withOldPorts(withOldSharing(plain, old), old, made);
      }),
    },
  };
}

/** Fields that the API server fills in and that a manifest need not say; a kubelet fills them in the same way. */
function withoutServerDefaults<
  S extends { readonly schedulerName?: string; readonly serviceAccount?: string; readonly serviceAccountName?: string },
>(spec: S): Omit<S, 'schedulerName' | 'serviceAccount' | 'serviceAccountName'> {
  const { schedulerName: _, serviceAccount: __, serviceAccountName: ___, ...rest } = spec;
  return rest;
}

function withOldSharing(container: V1Container, old: V1Container | undefined): V1Container {
  const before = old === undefined ? undefined : flagValue(old, PORT_SHARING);
  if (flagValue(container, PORT_SHARING) === undefined) return container;
  return before === undefined ? withoutFlag(container, PORT_SHARING) : withFlag(container, PORT_SHARING, before);
}

function withOwnAddress(container: V1Container, old: V1Container | undefined, node: NodeFacts): V1Container {
  const variable = `$(${HOST_IP})`;
  const flagged = ADDRESS_FLAGS.filter((name) => flagValue(container, name) === variable).reduce(
    (one, name) => withFlag(one, name, (old === undefined ? undefined : flagValue(old, name)) ?? node.hostIP),
    container,
  );
  const mentioned = [...(flagged.command ?? []), ...(flagged.args ?? [])].some((word) => word.includes(variable));
  const env = (flagged.env ?? []).filter((one) => mentioned || !isHostIP(one));
  const { env: _, ...rest } = flagged;
  return env.length === 0 ? rest : { ...rest, env };
}

const isHostIP = ({ name, valueFrom }: V1EnvVar): boolean => name === HOST_IP && valueFrom?.fieldRef?.fieldPath === 'status.hostIP';

/** Host and port of a probe as the original has them, where they are still what the pivot made of them. */
function withOldPorts(container: V1Container, old: V1Container | undefined, made: V1Container | undefined): V1Container {
  if (old === undefined || made === undefined) return container;
  const restored = withProbes(container, (name) => {
    const [now, was, then] = [container[name], old[name], made[name]];
    const untouched = now?.httpGet?.port === then?.httpGet?.port && now?.httpGet?.host === then?.httpGet?.host;
    if (now?.httpGet === undefined || was?.httpGet === undefined || !untouched) return now;
    const { host: _, ...httpGet } = now.httpGet;
    return {
      ...now,
      httpGet: { ...httpGet, port: was.httpGet.port, ...(was.httpGet.host === undefined ? {} : { host: was.httpGet.host }) },
    };
  });
  return old.ports === undefined || container.ports !== undefined ? restored : { ...restored, ports: old.ports };
}
