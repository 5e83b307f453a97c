/**
 * Changes a store without end, as the daemon does, and says what is done once it is: `saved <n>`, `proven <n>`, `activated <n>`. What was said must be there
 * after a power cut. `writer <store>`; each save's content is its number.
 */
import { prepareStore } from '../../../src/checkpoint/store/layout.ts';
import { loadGeneration } from '../../../src/checkpoint/store/load.ts';
import { readStore } from '../../../src/checkpoint/store/read.ts';
import { retireWorkload, reviveWorkload } from '../../../src/checkpoint/store/retention.ts';
import { pointAt, pruneGenerations, recordActivation, saveGeneration } from '../../../src/checkpoint/store/write.ts';
import { workloadKey } from '../../../src/checkpoint/workload.ts';
import { ABOUT, SCHEDULER, sampleCopy } from './sample.ts';

const say = (line: string) => process.stdout.write(`${line}\n`);

async function main(root: string): Promise<void> {
  await prepareStore(root);
  for (let round = 1; ; round++) {
    // Some are larger than what a file system keeps in an inode, some span blocks.
    const generation = await saveGeneration(root, SCHEDULER, sampleCopy(String(round), { bytesEach: 40 + ((round * 997) % 9000) }), ABOUT);
    say(`saved ${round}`);
    if (round % 3 === 0) {
      const { indexSha256 } = await loadGeneration(root, SCHEDULER, generation);
      await pointAt(root, SCHEDULER, 'proven', generation, indexSha256);
      say(`proven ${round}`);
    }
    await recordActivation(root, SCHEDULER, round);
    say(`activated ${round}`);
    const stored = (await readStore(root)).workloads.get(workloadKey(SCHEDULER))?.stored;
    const used = [stored?.newest, stored?.proven, stored?.previous];
    await pruneGenerations(
      root,
      SCHEDULER,
      [...(stored?.generations.keys() ?? [])].filter((number) => !used.includes(number)),
    );
    if (round % 10 === 0) {
      await retireWorkload(root, SCHEDULER, Date.now());
      const entry = (await readStore(root)).retired.find(({ workload }) => workloadKey(workload) === workloadKey(SCHEDULER))?.entry;
      if (entry !== undefined) await reviveWorkload(root, SCHEDULER, entry);
    }
  }
}

void main(process.argv[2] ?? '');
