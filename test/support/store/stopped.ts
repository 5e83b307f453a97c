/**
 * Saves one generation and waits in the middle of it, inside its transaction, until a line comes: `stopped <store>`. Says "building" when everything is
 * written and only the commit is left, then "saved" or "failed: <message>".
 */
import { once } from 'node:events';
import { saveGeneration } from '../../../src/checkpoint/store/write.ts';
import { withTransaction } from '../../../src/lock/transaction.ts';
import { ABOUT, SCHEDULER, sampleCopy } from './sample.ts';

async function main(store: string): Promise<void> {
  try {
    await withTransaction(store, ({ check }) =>
      saveGeneration(store, SCHEDULER, sampleCopy('stopped'), ABOUT, async () => {
        process.stdout.write('building\n');
        await once(process.stdin, 'data');
        await check();
      }),
    );
    process.stdout.write('saved\n');
  } catch (error) {
    process.stdout.write(`failed: ${error instanceof Error ? error.message : String(error)}\n`);
  }
  process.exit(0);
}

void main(process.argv[2] ?? '');
