/**
 * A manifest of ours that somebody changed. What ran was never proven, and the next reboot would run it again. It is not written anew in its place, because
 * to the kubelet that is one more change of a pod: the generation is activated again under a new name, and the changed one makes room for it.
 */
import { isDeepStrictEqual } from 'node:util';
import type { V1Pod } from '@kubernetes/client-node';
import type { Action } from '../checkpoint/model.ts';
import { type Case, seconds, type Verdict } from '../checkpoint/verdict.ts';
import { activateAction } from './candidate.ts';
import { deactivateAll, makeRoom } from './yield.ts';

/**
 * Which fields of a manifest are not those of the stored pod: names only, because values may be secret. Annotations and the end of the name may be more
 * than what is stored: an activation adds them, and a later version may add others, which must not look like somebody's edit.
 */
export function editsOf(manifest: V1Pod, stored: V1Pod): string[] {
  const edits: string[] = [];
  const { metadata, spec } = manifest;
  for (const field of ['apiVersion', 'kind'] as const) if (manifest[field] !== stored[field]) edits.push(field);
  if (metadata?.name?.startsWith(stored.metadata?.name ?? '') !== true) edits.push('metadata.name');
  if (metadata?.namespace !== stored.metadata?.namespace) edits.push('metadata.namespace');
  if (!isDeepStrictEqual(metadata?.labels ?? {}, stored.metadata?.labels ?? {})) edits.push('metadata.labels');
  for (const [key, value] of Object.entries(stored.metadata?.annotations ?? {}))
    if (metadata?.annotations?.[key] !== value) edits.push(`metadata.annotations[${key}]`);
  const [now, then] = [Object(spec) as Record<string, unknown>, Object(stored.spec) as Record<string, unknown>];
  for (const field of [...new Set([...Object.keys(now), ...Object.keys(then)])].sort())
    if (!isDeepStrictEqual(now[field], then[field])) edits.push(`spec.${field}`);
  return edits;
}

/** Restoring ends what runs. Whoever edits every manifest that comes, a configuration management say, must not end the API server at each of its passes. */
const RESTORE_AGAIN = 10 * 60_000;

/** The same of a file, which need not be a pod any more: a comment makes YAML of it, which the kubelet takes, and what was cut off is nothing at all. */
export function editsOfFile(bytes: Uint8Array, stored: V1Pod): string[] {
  let manifest: unknown;
  try {
    manifest = JSON.parse(Buffer.from(bytes).toString());
  } catch {
    return ['the syntax (it is no JSON any more)'];
  }
  if (typeof manifest !== 'object' || manifest === null || Array.isArray(manifest)) return ['everything (it is no pod any more)'];
  return editsOf(manifest as V1Pod, stored);
}

/** Undefined where the active manifest is what was written, or cannot be written again. */
export function restore(given: Case, isSelf: boolean): Verdict | undefined {
  const { observation, workload, memory, leaving } = given;
  const active = workload.active[0];
  if (active?.edits === undefined || active.edits.length === 0 || leaving) return undefined;
  if (workload.stored?.generations.has(active.generation) !== true) return undefined;
  const { now } = observation;
  const fields = active.edits.join(', ');
  const { restored } = memory;
  // A manifest that could not be written is written as soon as it can be.
  const next = restored === undefined || restored.of === active.activation ? now : restored.at + RESTORE_AGAIN;
  if (now < next) {
    const message = `somebody changed ${fields} of ${active.file} again: it is restored in ${seconds(next - now)}; find out who writes there`;
    return { reason: 'ManifestEdited', message, wakeAt: next };
  }
  const activating: Action = activateAction(given, active.generation);
  return {
    reason: 'ManifestEdited',
    message: `somebody changed ${fields} of ${active.file}: generation ${active.generation} is activated anew in its place`,
    // The checkpointer's own containers are left to the kubelet: this process may be one of them.
    actions: [activating, ...(isSelf ? deactivateAll(workload) : makeRoom(workload))],
    memory: { ...memory, restored: { at: now, of: active.activation } },
    flux: true,
  };
}
