/** A process with nothing but an API source in it: argument 1 is the kubeconfig. Says each state on stdout; SIGTERM stops the source and exits nothing. */
import { pino } from 'pino';
import { objectReferences } from '../../../src/checkpoint/references.ts';
import { createApiClient } from '../../../src/sources/api/client.ts';
import { loadKubeconfig } from '../../../src/sources/api/kubeconfig.ts';
import { createApiSource } from '../../../src/sources/api/source.ts';

const source = createApiSource({
  client: createApiClient(await loadKubeconfig(process.argv[2] ?? '')),
  nodeName: 'node-1',
  references: objectReferences,
  onChange: () => {
    const { state, pods } = source.snapshot();
    process.stdout.write(`${state.state} ${pods.size}\n`);
  },
  log: pino(pino.destination(2)),
});
process.once('SIGTERM', () => source.stop());
