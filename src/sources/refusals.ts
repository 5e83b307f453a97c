/**
 * Why the kubelet does not run an active copy, as far as it can be known: what it said of the mirror pod, an image that is not on the node, a port of the
 * host that somebody holds. Asked while an active copy has no container, and only then.
 */
import { readdir, readFile, readlink } from 'node:fs/promises';
import type { V1Pod } from '@kubernetes/client-node';
import { CONFIG_MIRROR, WORKLOAD } from '../checkpoint/annotations.ts';
import type { GenerationNumber, Questions } from '../checkpoint/model.ts';
import { type Workload, type WorkloadKey, workloadKey } from '../checkpoint/workload.ts';
import type { ApiSnapshot, RuntimeSource } from './snapshots.ts';

export interface RefusalSource {
  ask(questions: Questions['refusals'], api: ApiSnapshot): void;
  snapshot(): ReadonlyMap<WorkloadKey, readonly string[]>;
}

/** @param load the stored pod of a generation. @param onChange called when something else was found than before. */
export function createRefusalSource(
  load: (workload: Workload, generation: GenerationNumber) => Promise<V1Pod>,
  runtime: Pick<RuntimeSource, 'hasImage'>,
  onChange: () => void,
): RefusalSource {
  let found: ReadonlyMap<WorkloadKey, readonly string[]> = new Map();
  const asking = new Set<WorkloadKey>();
  const askOne = async (key: WorkloadKey, workload: Workload, generation: GenerationNumber, api: ApiSnapshot): Promise<void> => {
    const pod = await load(workload, generation).catch(() => undefined);
    const reasons = [
      ...saidOf(key, api),
      ...(pod === undefined ? [] : [...(await missingImages(pod, runtime)), ...(await takenPorts(pod, api))]),
    ];
    const changed = JSON.stringify(found.get(key)) !== JSON.stringify(reasons);
    found = new Map([...found, [key, reasons]]);
    asking.delete(key);
    if (changed) onChange();
  };
  return {
    ask(questions, api) {
      const asked = new Set(questions.map(({ workload }) => workloadKey(workload)));
      found = new Map([...found].filter(([key]) => asked.has(key)));
      for (const { workload, generation } of questions) {
        const key = workloadKey(workload);
        if (asking.has(key)) continue;
        asking.add(key);
        void askOne(key, workload, generation, api);
      }
    },
    snapshot: () => found,
  };
}

/** The kubelet reports a static pod that it refused at admission as a Failed mirror pod, with the reason. */
export function saidOf(key: WorkloadKey, api: ApiSnapshot): string[] {
  if (api.state.state !== 'ok') return [];
  return [...api.pods.values()]
    .filter(({ metadata }) => metadata?.annotations?.[WORKLOAD] === key && metadata.annotations[CONFIG_MIRROR] !== undefined)
    .filter(({ status }) => status?.phase === 'Failed')
    .map(
      ({ metadata, status }) => `the kubelet says of ${metadata?.name}: ${status?.reason ?? 'Failed'}, ${status?.message ?? 'no message'}`,
    );
}

async function missingImages(pod: V1Pod, runtime: Pick<RuntimeSource, 'hasImage'>): Promise<string[]> {
  const images = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])].flatMap(({ image }) => image ?? []);
  const missing = await Promise.all(
    // A runtime that does not answer is said elsewhere.
    [...new Set(images)].map(async (image) =>
      (await runtime.hasImage(image).catch(() => true)) ? [] : [`image ${image} is not on this node`],
    ),
  );
  return missing.flat();
}

export interface Listener {
  readonly port: number;
  readonly inode: string;
}

/** Ports of the host that the pod wants and another pod of this node, or any process, has. */
async function takenPorts(pod: V1Pod, api: ApiSnapshot): Promise<string[]> {
  const wanted = new Set(hostPorts(pod));
  if (wanted.size === 0) return [];
  const listeners = (await listening()).filter(({ port }) => wanted.has(port));
  const reasons: string[] = [];
  for (const port of wanted) {
    const pods =
      api.state.state === 'ok' ? [...api.pods.values()].filter((other) => isRunning(other) && hostPorts(other).includes(port)) : [];
    for (const { metadata } of pods) reasons.push(`port ${port} of the host is held by pod ${metadata?.namespace}/${metadata?.name}`);
    const listener = listeners.find((one) => one.port === port);
    if (listener !== undefined) reasons.push(`port ${port} of the host is held by ${await holderOf(listener.inode)}`);
  }
  return reasons;
}

function hostPorts({ spec }: V1Pod): number[] {
  return (spec?.containers ?? []).flatMap(({ ports }) => (ports ?? []).flatMap(({ hostPort }) => hostPort ?? []));
}

const isRunning = ({ status, metadata }: V1Pod): boolean => status?.phase === 'Running' && metadata?.annotations?.[WORKLOAD] === undefined;

export interface Listener {
  readonly port: number;
  readonly inode: string;
}

/** Listening TCP sockets of this network namespace, by proc_net_tcp(5). */
export function parseListeners(table: string): Listener[] {
  return table
    .split('\n')
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[3] === '0A')
    .map((fields) => ({ port: Number.parseInt(fields[1]?.split(':')[1] ?? '', 16), inode: fields[9] ?? '' }));
}

async function listening(): Promise<Listener[]> {
  const tables = await Promise.all(['/proc/net/tcp', '/proc/net/tcp6'].map((path) => readFile(path, 'utf8').catch(() => '')));
  return tables.flatMap(parseListeners);
}

/** The process that has the socket open, where the PID namespace shows it. */
async function holderOf(inode: string): Promise<string> {
  for (const pid of await readdir('/proc')) {
    if (!/^[0-9]+$/.test(pid)) continue;
    const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
    const links = await Promise.all(descriptors.map((fd) => readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')));
    if (!links.includes(`socket:[${inode}]`)) continue;
    const command = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '');
    return `process ${pid} (${command.trim()})`;
  }
  return 'a process that cannot be seen from here';
}
