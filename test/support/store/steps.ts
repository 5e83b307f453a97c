/** Changes of a store, each by name, so that another process can make exactly one of them. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import type { Digest } from '../../../src/checkpoint/model.ts';
import { forgive, markFailing } from '../../../src/checkpoint/store/failing.ts';
import { prepareStore } from '../../../src/checkpoint/store/layout.ts';
import { loadGeneration } from '../../../src/checkpoint/store/load.ts';
import { retiredEntry } from '../../../src/checkpoint/store/paths.ts';
import { discardRetired, quarantineGeneration, retireWorkload, reviveWorkload } from '../../../src/checkpoint/store/retention.ts';
import { pointAt, pruneGenerations, recordActivation, saveGeneration, settleBoot } from '../../../src/checkpoint/store/write.ts';
import { NOTHING_RUNS, recover } from '../../../src/recovery/boot.ts';
import { createDiskSource } from '../../../src/sources/disk.ts';
import type { Look } from './look.ts';
import { ABOUT, SCHEDULER, sampleCopy } from './sample.ts';

const RETIRED = retiredEntry(SCHEDULER, 1_000);
const BOOT = '11111111-1111-4111-8111-111111111111';

const save = (root: string, content: string) => saveGeneration(root, SCHEDULER, sampleCopy(content), ABOUT);

async function prove(root: string, number: number): Promise<void> {
  const { indexSha256 } = await loadGeneration(root, SCHEDULER, number);
  await pointAt(root, SCHEDULER, 'proven', number, indexSha256);
}

export interface Step {
  /** What is in the store before. */
  readonly before: (root: string) => Promise<unknown>;
  readonly change: (root: string) => Promise<unknown>;
  /** A third state that a kill may leave, besides the old one and the new one. */
  readonly between?: (found: Look, before: Look, after: Look) => boolean;
  /** A third state that a failed system call may leave. */
  readonly afterError?: (found: Look, before: Look, after: Look) => boolean;
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

/** Two specs marked failing. */
async function marked(root: string): Promise<void> {
  await full(root);
  for (const digest of ['older', 'old']) await markFailing(root, SCHEDULER, digest as Digest, 'as a test', 1_000);
}

/** With a place for manifests, before a kubelet has ever run. */
async function down(root: string): Promise<void> {
  await full(root);
  await mkdir(join(root, '../manifests'));
}

async function recoverAll(root: string): Promise<void> {
  const podManifestPath = join(root, '../manifests');
  const disk = createDiskSource(root, podManifestPath);
  const seen = { bootId: BOOT, api: { state: 'unreachable', detail: 'refused' }, runtime: NOTHING_RUNS, byHand: false } as const;
  const { failed } = await recover(seen, { checkpointDir: root, podManifestPath, disk, wallClock: Date.now });
  for (const message of failed.values()) throw new Error(message);
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
  'marking a generation proven': {
    before: newer,
    change: (root) => prove(root, 3),
    // A pointer that cannot be read is damage, and is written anew without what it said.
    afterError: (found, before, after) => found.serves === after.serves && found.previous === before.previous,
  },
  'going back to an earlier generation': {
    before: newer,
    change: async (root) => {
      const { indexSha256 } = await loadGeneration(root, SCHEDULER, 2);
      await pointAt(root, SCHEDULER, 'newest', 2, indexSha256);
    },
  },
  'taking over the proof, for newer tokens': {
    before: newer,
    change: async (root) => {
      const { indexSha256 } = await loadGeneration(root, SCHEDULER, 3);
      await pointAt(root, SCHEDULER, 'proven', 3, indexSha256, 'keepPrevious');
    },
  },
  'marking a spec failing': {
    before: full,
    change: (root) => markFailing(root, SCHEDULER, 'old' as Digest, 'as a test', 1_000),
  },
  'clearing one of two marks': { before: marked, change: (root) => forgive(root, SCHEDULER, 'old' as Digest) },
  'clearing all marks': { before: marked, change: (root) => forgive(root, SCHEDULER) },
  'settling a boot': { before: full, change: (root) => settleBoot(root, BOOT) },
  'deleting a generation': { before: crowded, change: (root) => pruneGenerations(root, SCHEDULER, [3]) },
  'counting an activation': { before: full, change: (root) => recordActivation(root, SCHEDULER, 1) },
  'quarantining the newest generation': { before: newer, change: (root) => quarantineGeneration(root, SCHEDULER, 3, 'as a test', 2_000) },
  'quarantining the proven generation': {
    before: newer,
    change: (root) => quarantineGeneration(root, SCHEDULER, 2, 'as a test', 2_000),
    // Out of the pointers and still there, where it serves nothing.
    between: (found, _, after) => found.serves === after.serves && found.newest === after.newest && found.previous === undefined,
  },
  'deleting a retired workload': {
    before: retired,
    change: (root) => discardRetired(root, SCHEDULER, RETIRED),
  },
  'recovering before the kubelet': {
    before: down,
    change: recoverAll,
    // Counted before it is used: a number is wasted.
    between: (found, before, after) =>
      found.manifests.length === 0 && found.activations === after.activations && found.serves === before.serves,
  },
  'retiring a workload': { before: full, change: (root) => retireWorkload(root, SCHEDULER, 1_000) },
  'bringing a retired workload back': {
    before: retired,
    change: (root) => reviveWorkload(root, SCHEDULER, RETIRED),
  },
} as const satisfies Record<string, Step>;

export const stepOf = (name: StepName): Step => STEPS[name];

export type StepName = keyof typeof STEPS;
