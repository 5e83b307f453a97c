/** Saves so many generations as a command would, each in a transaction of its own: `saver <store> <name> <count>`. Says "saving" before each. */
import { saveGeneration } from '../../../src/checkpoint/store/write.ts';
import { withTransaction } from '../../../src/lock/transaction.ts';
import { ABOUT, SCHEDULER, sampleCopy } from './sample.ts';

const [, , store = '', name = '', count = '0'] = process.argv;
for (let number = 1; number <= Number(count); number++) {
  process.stdout.write('saving\n');
  await withTransaction(store, () => saveGeneration(store, SCHEDULER, sampleCopy(`${name} ${number}`), ABOUT));
}
