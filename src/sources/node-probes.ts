/**
 * Asks running pods themselves whether they are ready, while nobody else can say so. Asked once for each observation that has the question, never more than
 * one request at a time for each pod; the answer is in the next snapshot.
 */
import { connect } from 'node:net';
import type { V1Pod } from '@kubernetes/client-node';
import type { GenerationNumber, Questions } from '../checkpoint/model.ts';
import { type NodeProbe, readinessProbes } from '../checkpoint/node-probes.ts';
import type { Workload } from '../checkpoint/workload.ts';
import { http, https } from '../platform/builtin.ts';

export interface NodeProbeSource {
  ask(probes: Questions['probes']): void;
  /** Whether the pods that were asked about last answered all of their probes; one without an answer, or that cannot be asked, is not there. By uid. */
  snapshot(): ReadonlyMap<string, boolean>;
}

/** @param load the stored pod of a generation. @param onChange called when an answer is another one than before. */
export function createNodeProbeSource(
  load: (workload: Workload, generation: GenerationNumber) => Promise<V1Pod>,
  onChange: () => void,
): NodeProbeSource {
  let answers: ReadonlyMap<string, boolean> = new Map();
  /** Of the pods that are asked about: a generation does not change, and to load it is to verify every file of it. */
  const known = new Map<string, readonly NodeProbe[]>();
  const asking = new Set<string>();
  const askOne = async (workload: Workload, uid: string, generation: GenerationNumber): Promise<void> => {
    const probes = known.get(uid) ?? (await load(workload, generation).then(readinessProbes, () => undefined));
    if (probes !== undefined) known.set(uid, probes);
    const answer = probes === undefined ? undefined : (await Promise.all(probes.map(isAnswered))).every(Boolean);
    const before = answers.get(uid);
    answers = new Map([...answers].filter(([other]) => other !== uid));
    if (answer !== undefined) answers = new Map([...answers, [uid, answer]]);
    asking.delete(uid);
    if (answer !== before) onChange();
  };
  return {
    ask(probes) {
      const asked = new Set(probes.map(({ uid }) => uid));
      answers = new Map([...answers].filter(([uid]) => asked.has(uid)));
      for (const uid of known.keys()) if (!asked.has(uid)) known.delete(uid);
      for (const { workload, uid, generation } of probes) {
        if (asking.has(uid)) continue;
        asking.add(uid);
        void askOne(workload, uid, generation);
      }
    },
    snapshot: () => answers,
  };
}

/** As the kubelet has it: an HTTP probe succeeds with a status from 200 to 399, and its certificate is not verified; a TCP probe by connecting. */
export function isAnswered(probe: NodeProbe): Promise<boolean> {
  return probe.kind === 'tcp' ? connects(probe) : responds(probe);
}

function connects({ host, port, timeoutMs }: Extract<NodeProbe, { kind: 'tcp' }>): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.setTimeout(timeoutMs, () => end(false));
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}

function responds({ scheme, host, port, path, headers, timeoutMs }: Extract<NodeProbe, { kind: 'http' }>): Promise<boolean> {
  return new Promise((resolve) => {
    const options = { host, port, path, headers: Object.fromEntries(headers), agent: false as const };
    const signal = AbortSignal.timeout(timeoutMs);
    const made =
      scheme === 'https' ? https().request({ ...options, signal, rejectUnauthorized: false }) : http().request({ ...options, signal });
    made.once('response', (response) => {
      response.resume();
      const status = response.statusCode ?? 0;
      resolve(status >= 200 && status < 400);
      response.once('end', () => made.destroy());
    });
    made.once('error', () => resolve(false));
    made.end();
  });
}
