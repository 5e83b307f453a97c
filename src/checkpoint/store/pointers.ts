/** The pointers of a workload: which generation is proven, which was proven before it, which is the newest. Each change of them is one rename. */
import { type Confirm, type ReplaceOptions, removeDurable, replaceDurable } from '../../platform/durable.ts';
import type { GenerationNumber } from '../model.ts';
import type { Workload } from '../workload.ts';
import { asStoreError, DamagedError } from './errors.ts';
import { encodeNewestPointer, encodePointer, encodeProven, type Pointer } from './format.ts';
import { clear } from './layout.ts';
import { generationPath, pointerPath, workloadPath } from './paths.ts';
import { generationNumbers, readIndexSha256, readNewest, readPrevious, readProven } from './read-workload.ts';

/**
 * Points `newest` or `proven` at a generation. A new proven one makes the old proven one `previous`, in the same step, unless that is to stay what it is.
 * `indexSha256` is that of the index as it was verified.
 */
export async function pointAt(
  root: string,
  workload: Workload,
  name: 'newest' | 'proven',
  generation: GenerationNumber,
  indexSha256: string,
  before: 'setPrevious' | 'keepPrevious' = 'setPrevious',
  confirm?: Confirm,
): Promise<void> {
  const workloadDir = workloadPath(root, workload);
  if (name === 'newest') {
    const highest = Math.max(generation, ...(await generationNumbers(workloadDir)));
    await replacePointer(root, workload, 'newest', encodeNewestPointer({ generation, indexSha256, highest }), confirm);
    return;
  }
  const old = await readProven(workloadDir);
  const keep = before === 'keepPrevious' || (typeof old === 'object' && old.proven.generation === generation);
  const candidates = typeof old === 'object' ? (keep ? [old.previous] : [old.proven, old.previous]) : [];
  const repeated = await readPrevious(workloadDir);
  if (typeof repeated === 'object' && (keep || typeof old !== 'object')) candidates.push(repeated);
  const previous = await firstThatLeads(workloadDir, candidates, generation);
  // The repetition first: it is read only where `proven` cannot be, and must then name what serves.
  const older = typeof old === 'object' && !keep ? await firstThatLeads(workloadDir, [old.proven], generation) : previous;
  if (older !== undefined && (typeof repeated !== 'object' || encodePointer(repeated) !== encodePointer(older)))
    await replacePointer(root, workload, 'previous', encodePointer(older), confirm);
  await replacePointer(root, workload, 'proven', encodeProven({ proven: { generation, indexSha256 }, previous }), confirm);
}

/** A damaged pointer must not become another one, and no pointer names what the other one does. */
async function firstThatLeads(
  workloadDir: string,
  pointers: readonly (Pointer | undefined)[],
  other: GenerationNumber,
): Promise<Pointer | undefined> {
  for (const pointer of pointers)
    if (pointer !== undefined && pointer.generation !== other && (await leadsSomewhere(workloadDir, pointer))) return pointer;
  return undefined;
}

/**
 * Takes a generation out of the pointers before it leaves, so that what was proven before it is what they name. Where that fails (a full disk) a pointer
 * leads nowhere once the generation is gone, and counts for nothing.
 */
export async function unpoint(root: string, workload: Workload, generation: GenerationNumber): Promise<void> {
  const workloadDir = workloadPath(root, workload);
  const pointers = await readProven(workloadDir);
  if (typeof pointers === 'object') {
    const { proven, previous } = pointers;
    if (previous?.generation === generation) await replacePointer(root, workload, 'proven', encodeProven({ proven, previous: undefined }));
    else if (proven.generation === generation) {
      if (previous === undefined) await removeDurable(pointerPath(workloadDir, 'proven'));
      else await replacePointer(root, workload, 'proven', encodeProven({ proven: previous, previous: undefined }));
    }
  }
  const repeated = await readPrevious(workloadDir);
  if (typeof repeated === 'object' && repeated.generation === generation) await removeDurable(pointerPath(workloadDir, 'previous'));
  const newest = await readNewest(workloadDir);
  if (typeof newest === 'object' && newest.generation === generation) await removeDurable(pointerPath(workloadDir, 'newest'));
}

async function leadsSomewhere(workloadDir: string, { generation, indexSha256 }: Pointer): Promise<boolean> {
  const found = await readIndexSha256(generationPath(workloadDir, generation)).catch((error: unknown) => {
    if (error instanceof DamagedError) return undefined;
    throw error;
  });
  return found === indexSha256;
}

async function replacePointer(
  root: string,
  workload: Workload,
  name: 'proven' | 'previous' | 'newest',
  text: string,
  confirm?: Confirm,
): Promise<void> {
  await replace(root, pointerPath(workloadPath(root, workload), name), text, confirm && { confirm });
}

export async function replace(root: string, path: string, text: string, options: ReplaceOptions = {}): Promise<void> {
  try {
    await clear(root, path, 'file');
    await replaceDurable(path, Buffer.from(text), options);
  } catch (error) {
    throw asStoreError(error, root);
  }
}
