/** The disk that the store takes is bounded: decide and act on a real store, round after round, with everything that leaves something behind. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, statfs, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { act } from '../../src/act.ts';
import { decide } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY, type Memory } from '../../src/checkpoint/memory.ts';
import { prepareStore } from '../../src/checkpoint/store/layout.ts';
import { generationPath, workloadPath } from '../../src/checkpoint/store/paths.ts';
import { readStore } from '../../src/checkpoint/store/read.ts';
import { maximumBytes, retireWorkload } from '../../src/checkpoint/store/retention.ts';
import { type Workload, workloadKey } from '../../src/checkpoint/workload.ts';
import { observation, POLICY, parent, runtimePod, workload } from '../support/observations.ts';
import { effectsOn } from '../support/store/effects.ts';
import { sampleCopy } from '../support/store/sample.ts';

const run = promisify(execFile);

let dir: string;
let store: string;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'store-bound-'));
  store = join(dir, 'store');
  await mkdir(join(dir, 'manifests'));
  await prepareStore(store);
});

afterEach(() => rm(dir, { recursive: true, force: true }));

async function diskUse(path: string): Promise<number> {
  const { stdout } = await run('du', ['-s', '--block-size=1', path]);
  return Number(stdout.split('\t')[0]);
}

/** One look at a pod of this content, Ready for long, and what follows from it; until nothing follows. */
async function round(of: Workload, content: string, memory: Memory, now: number, runtimeKnown: boolean): Promise<Memory> {
  const effects = { ...effectsOn(store, join(dir, 'manifests')), transaction: <T>(change: () => Promise<T>) => change() };
  for (let step = 0; step < 6; step++) {
    const stored = (await readStore(store)).workloads.get(workloadKey(of))?.stored;
    const pod = parent({ kind: 'copy', copy: sampleCopy(content, { files: 3, bytesEach: 3_000 }) });
    const seen = workload(of, { parent: { state: 'present', pod }, parentPods: [runtimePod('running')], stored });
    const runtime = runtimeKnown ? ({ state: 'ok' } as const) : ({ state: 'unknown', detail: '' } as const);
    const decision = decide(memory, observation([seen], { now: now + step * 40_000, runtime }), POLICY);
    memory = decision.memory;
    for (const action of decision.actions) await act(action, effects).catch(() => undefined);
  }
  return memory;
}

const of = (name: string): Workload => ({ namespace: 'kube-system', group: 'apps', kind: 'DaemonSet', name });

describe('the disk that a store takes', () => {
  test.each([
    { runtime: 'answers', known: true, inDoubt: false },
    { runtime: 'does not answer', known: false, inDoubt: true },
  ])(
    'stays below the documented bound while the runtime $runtime: changes, proofs, damage, retirements',
    { timeout: 60_000 },
    async ({ known, inDoubt }) => {
      const { bsize } = await statfs(store);
      let memory = EMPTY_MEMORY;
      let largestGeneration = 0;
      let most = 0;
      for (let number = 1; number <= 45; number++) {
        memory = await round(of('a'), `content ${number}`, memory, number * 1_000_000, known);
        const stored = (await readStore(store)).workloads.get(workloadKey(of('a')))?.stored;
        const newest = generationPath(workloadPath(store, of('a')), stored?.newest ?? 0);
        largestGeneration = Math.max(largestGeneration, await diskUse(newest));
        if (number % 4 === 0) await truncate(join(newest, 'index.json'), 10);
        if (number % 9 === 0) await retireWorkload(store, of('a'), number * 1_000);
        const bytes = await diskUse(store);
        const bound = maximumBytes({ workloads: 1, largestGeneration, blockSize: bsize, inDoubt });
        expect(bytes, `round ${number}`).toBeLessThanOrEqual(bound);
        const generations = (await readStore(store)).workloads.get(workloadKey(of('a')))?.stored.generations.size ?? 0;
        expect(generations, `round ${number}`).toBeLessThanOrEqual(inDoubt ? 13 : 5);
        most = Math.max(most, generations);
      }
      expect(most).toBeGreaterThan(inDoubt ? 5 : 1);
    },
  );
});
