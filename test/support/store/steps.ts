/** Changes of a store, each by name, so that another process can make exactly one of them. */

import { prepareStore } from '../../../src/checkpoint/store/layout.ts';
import { loadGeneration } from '../../../src/checkpoint/store/load.ts';
import { readStore } from '../../../src/checkpoint/store/read.ts';
import { quarantineGeneration, retireWorkload, reviveWorkload } from '../../../src/checkpoint/store/retention.ts';
import { pointAt, pruneGenerations, recordActivation, saveGeneration } from '../../../src/checkpoint/store/write.ts';
import { ABOUT, SCHEDULER, sampleCopy } from './sample.ts';

const save = (root: string, content: string) => saveGeneration(root, SCHEDULER, sampleCopy(content), ABOUT);

async function prove(root: string, number: number): Promise<void> {
  const { indexSha256 } = await loadGeneration(root, SCHEDULER, number);
  await pointAt(root, SCHEDULER, 'proven', number, indexSha256);
}

export interface Step {
  /** What is in the store before. */
  readonly before: (root: string) => Promise<unknown>;
  readonly change: (root: string) => Promise<unknown>;
}

/** A generation that was proven, one that is, and a newer one. */
async function full(root: string): Promise<void> {
  await prepareStore(root);
  await save(root, 'older');
  await prove(root, 1);
  await save(root, 'old');
  await prove(root, 2);
}

async function newer(root: string): Promise<void> {
  await full(root);
  await save(root, 'newer');
}

/** With one between the proven and the newest, which nothing points at. */
async function crowded(root: string): Promise<void> {
  await newer(root);
  await save(root, 'newest');
}

async function retired(root: string): Promise<void> {
  await full(root);
  await retireWorkload(root, SCHEDULER, 1_000);
}

export const STEPS = {
  'the first save of all': {
    before: async () => undefined,
    change: async (root) => {
      await prepareStore(root);
      await save(root, 'new');
    },
  },
  'a save': { before: full, change: (root) => save(root, 'new') },
  'marking a generation proven': { before: newer, change: (root) => prove(root, 3) },
  'going back to an earlier generation': {
    before: newer,
    change: async (root) => {
      const { indexSha256 } = await loadGeneration(root, SCHEDULER, 2);
      await pointAt(root, SCHEDULER, 'newest', 2, indexSha256);
    },
  },
  'deleting a generation': { before: crowded, change: (root) => pruneGenerations(root, SCHEDULER, [3]) },
  'counting an activation': { before: full, change: (root) => recordActivation(root, SCHEDULER, 1) },
  'quarantining the newest generation': { before: newer, change: (root) => quarantineGeneration(root, SCHEDULER, 3, 'as a test', 2_000) },
  'retiring a workload': { before: full, change: (root) => retireWorkload(root, SCHEDULER, 1_000) },
  'bringing a retired workload back': {
    before: retired,
    change: async (root) => {
      const entry = (await readStore(root)).retired[0]?.entry ?? '';
      await reviveWorkload(root, SCHEDULER, entry);
    },
  },
} as const satisfies Record<string, Step>;

export type StepName = keyof typeof STEPS;
