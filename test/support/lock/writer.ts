// A process that changes a store: `writer.ts <store> <log file> <changes>`, or `writer.ts <store> hold` for one that never ends its change.
import { appendFile } from 'node:fs/promises';
import { setImmediate as turn } from 'node:timers/promises';
import { withTransaction } from '../../../src/lock/transaction.ts';

const [store = '', log = '', changes = '0'] = process.argv.slice(2);
if (log === 'hold') {
  await withTransaction(store, () => {
    console.log('holds');
    return new Promise((resolve) => setInterval(resolve, 2 ** 30));
  });
}
for (let change = 0; change < Number(changes); change++) {
  await withTransaction(store, async () => {
    await appendFile(log, `begin ${process.pid}\n`);
    await turn();
    await appendFile(log, `end ${process.pid}\n`);
  });
}
