/** What the commands on the store have in common: which store, workload and generation is meant. Reads only. */
import { stat } from 'node:fs/promises';
import type { Option } from 'commander';
import type { GenerationNumber, StoredWorkload } from '../checkpoint/model.ts';
import type { StoreSnapshot } from '../checkpoint/store/read.ts';
import type { Workload, WorkloadKey } from '../checkpoint/workload.ts';
import { InputError } from './input-error.ts';
import { DEFAULT_CHECKPOINT_DIR, flag } from './options.ts';

export const WORKLOAD_ARGUMENT = 'namespace/Kind/name, Kind/name or name';
export const GENERATION_ARGUMENT = 'its number, or proven, previous or newest';

export const checkpointDirFlag = (): Option => flag('--checkpoint-dir <dir>', 'where the copies are kept').default(DEFAULT_CHECKPOINT_DIR);

/** Throws InputError where there is no store, FormatError on one of a later version. */
export async function openStore(checkpointDir: string): Promise<StoreSnapshot> {
  const found = await stat(checkpointDir).catch(() => undefined);
  if (found?.isDirectory() !== true)
    throw new InputError(`--checkpoint-dir ${checkpointDir}: there is no such directory; give the one that the daemon uses`);
  const { readStore } = await import('../checkpoint/store/read.ts');
  return readStore(checkpointDir);
}

export interface Named {
  readonly key: WorkloadKey;
  readonly workload: Workload;
  readonly stored: StoredWorkload;
}

/** The stored workload that somebody means. Throws InputError with the choice there is. */
export async function namedWorkload({ workloads }: StoreSnapshot, given: string): Promise<Named> {
  const { resolveWorkload } = await import('../inspect/detail.ts');
  const key = resolveWorkload([...workloads.keys()], given);
  const found = workloads.get(key);
  if (found === undefined) throw new InputError(`${given}: no such workload`);
  return { key, ...found };
}

const ROLES = ['proven', 'previous', 'newest'] as const;

export function rolesOf(stored: StoredWorkload, generation: GenerationNumber): readonly (typeof ROLES)[number][] {
  return ROLES.filter((role) => stored[role] === generation);
}

/** Throws InputError for one that is not there. */
export function namedGeneration({ key, stored }: Named, given: string): GenerationNumber {
  const role = ROLES.find((name) => name === given);
  const number = role === undefined ? (/^g?([1-9][0-9]{0,11})$/.exec(given)?.[1] ?? '') : stored[role];
  const there = [...stored.generations.keys(), ...stored.damaged.keys()].sort((a, b) => a - b);
  if (number === undefined || !there.includes(Number(number)))
    throw new InputError(`${given}: ${key} has no such generation; there is ${there.join(', ') || 'none'}`);
  return Number(number);
}
