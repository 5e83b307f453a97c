/** Makes an embedded node, powers it on, says its id, and waits to be killed. */
import { createNode } from '../../../src/embedded/node/node.ts';
import { EMBEDDED } from './processes.ts';

const node = await createNode({ embedded: EMBEDDED });
await node.powerOn();
await node.cri().version();
process.stdout.write(`${node.id} ${node.layout.root}\n`);
await new Promise(() => setInterval(() => {}, 60_000));
