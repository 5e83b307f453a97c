/**
 * Everything that the daemon does with a generation's files, whoever they belong to: saved, verified, saved anew, retired, removed. Prints the modes that
 * the first was stored with. Run as a program, so that it can be given less than root may otherwise do.
 *
 *     node whole-life.ts <store>
 */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { loadGeneration } from '../../../src/checkpoint/store/load.ts';
import { generationPath, workloadPath } from '../../../src/checkpoint/store/paths.ts';
import { discardRetired, retireWorkload } from '../../../src/checkpoint/store/retention.ts';
import { prepareStore, saveGeneration } from '../../../src/checkpoint/store/write.ts';
import { ABOUT, SCHEDULER, sampleCopy } from './sample.ts';

const store = process.argv[2] ?? '';
const owned = { uid: 1000, gid: 2000 };
const copy = {
  ...sampleCopy('of another user'),
  // As fsGroup leaves a volume: the group's, with the set-group-ID bit; and a key that its owner alone reads.
  directories: [{ path: 'keys', mode: 0o2750, ...owned }],
  files: [{ path: 'keys/tls.key', bytes: Buffer.from('key'), mode: 0o400, ...owned }],
};

await prepareStore(store);
const first = await saveGeneration(store, SCHEDULER, copy, ABOUT);
await loadGeneration(store, SCHEDULER, first);
const keys = join(generationPath(workloadPath(store, SCHEDULER), first), 'files/keys');
const modes = [await stat(keys), await stat(join(keys, 'tls.key'))].map(
  ({ mode, uid, gid }) => `${(mode & 0o7777).toString(8)} ${uid}:${gid}`,
);
await loadGeneration(store, SCHEDULER, await saveGeneration(store, SCHEDULER, { ...copy, digest: sampleCopy('other').digest }, ABOUT));
await retireWorkload(store, SCHEDULER, 0);
for (const entry of await readdir(join(store, 'retired'))) await discardRetired(store, SCHEDULER, entry);
process.stdout.write(modes.join(', '));
