/** From a stored copy to the manifest that lies in the kubelet's directory, and what can be read back from one. */
import type { V1Pod } from '@kubernetes/client-node';
import { ACTIVATION, GENERATION, WORKLOAD } from './annotations.ts';
import { canonical } from './copy/canonical.ts';
import { own } from './copy/own.ts';
import { GENERATION_DIR } from './copy-types.ts';
import type { GenerationNumber } from './model.ts';
import type { WorkloadKey } from './workload.ts';

export interface Placement {
  /** Absolute path of the generation on the host, the same inside the checkpointer's container. */
  readonly generationDir: string;
  readonly generation: GenerationNumber;
  /** Number of this activation; none for the pod that is stored with its generation. */
  readonly activation?: number;
}

/**
 * The static pod of a generation in its place. The digest is not among its annotations: everyone who may read pods reads those of the mirror pod, and a
 * digest over a Secret with few possible values tells which it is.
 * Throws if `generationDir` is not absolute.
 */
export function materialize(pod: V1Pod, place: Placement): V1Pod {
  if (!place.generationDir.startsWith('/')) throw new Error(`generation directory "${place.generationDir}": expected an absolute path`);
  const placed = extended(pod, `-g${place.generation}`, { [GENERATION]: String(place.generation) });
  for (const { hostPath } of placed.spec?.volumes ?? []) {
    if (hostPath?.path.startsWith(`${GENERATION_DIR}/`)) hostPath.path = place.generationDir + hostPath.path.slice(GENERATION_DIR.length);
  }
  return place.activation === undefined ? placed : activated(placed, place.activation);
}

/**
 * The pod of a stored generation as it is handed to the kubelet. Each activation makes a new pod name: a static pod waits for an older one of the same
 * name to end, and before the kubelet has once seen the API server nothing ends it.
 */
export function activated(pod: V1Pod, activation: number): V1Pod {
  return extended(pod, `-a${activation}`, { [ACTIVATION]: String(activation) });
}

function extended(pod: V1Pod, suffix: string, annotations: Readonly<Record<string, string>>): V1Pod {
  const result = structuredClone(pod);
  result.metadata = {
    ...result.metadata,
    name: `${pod.metadata?.name ?? ''}${suffix}`,
    annotations: { ...result.metadata?.annotations, ...annotations },
  };
  return result;
}

/** The manifest's bytes: JSON, which every YAML parser reads alike, with sorted keys. The same pod gives the same bytes, so the kubelet the same UID. */
export function manifestBytes(pod: V1Pod): Buffer {
  return Buffer.from(`${JSON.stringify(canonical(pod), undefined, 2)}\n`, 'utf8');
}

export interface ActiveCopy {
  readonly workload: WorkloadKey;
  readonly generation: GenerationNumber;
  readonly activation: number;
}

/** Which copy a manifest is, from our annotations; undefined for anything that is not an activated copy of ours: other files may lie there. */
export function parseActiveManifest(bytes: Uint8Array): ActiveCopy | undefined {
  const annotations = annotationsOf(parse(bytes));
  const workload = own(annotations, WORKLOAD);
  const generation = numberIn(own(annotations, GENERATION));
  const activation = numberIn(own(annotations, ACTIVATION));
  if (workload === undefined || generation === undefined || activation === undefined) return undefined;
  return { workload: workload as WorkloadKey, generation, activation };
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    return undefined;
  }
}

function annotationsOf(value: unknown): Record<string, string> {
  const annotations = member(member(value, 'metadata'), 'annotations');
  if (typeof annotations !== 'object' || annotations === null) return {};
  return Object.fromEntries(Object.entries(annotations).filter((entry): entry is [string, string] => typeof entry[1] === 'string'));
}

function member(value: unknown, key: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, key) ? Reflect.get(value, key) : undefined;
}

function numberIn(text: string | undefined): number | undefined {
  return text !== undefined && /^[1-9][0-9]{0,14}$/.test(text) ? Number(text) : undefined;
}
