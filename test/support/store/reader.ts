/** Reads a store and says which workloads there are, and what could not be read: `reader <store>`. */
import { readStore } from '../../../src/checkpoint/store/read.ts';

const { workloads, unreadable } = await readStore(process.argv[2] ?? '');
process.stdout.write(JSON.stringify({ workloads: [...workloads.keys()], unreadable: [...(unreadable?.keys() ?? [])] }));
