/** Those who wait for somebody else to find the API server again must not take what they read last for true meanwhile. */
import { it, onTestFinished } from 'vitest';
import { startReflector } from '../../src/sources/api/reflector.ts';
import { connect, NODE, QUICK, recordLog, startServer } from '../support/api/setup.ts';
import { until } from '../support/until.ts';

it('a watch that ends by itself while others wait for the return of the API server says that it is away, too', async () => {
  const server = await startServer();
  let waiting = false;
  const reflector = startReflector({
    client: await connect(server.url),
    path: '/api/v1/pods',
    fieldSelector: `spec.nodeName=${NODE}`,
    keep: (object) => object,
    onChange: () => undefined,
    onState: () => undefined,
    // Closed for good: nobody finds the API server again.
    gate: (signal) => {
      waiting = true;
      return new Promise((resolve) => signal.addEventListener('abort', () => resolve(true)));
    },
    timing: QUICK,
    random: () => 0,
    now: () => performance.now(),
    log: recordLog().log,
  });
  onTestFinished(() => reflector.stop());
  await until(() => reflector.collection().state.state === 'ok' && server.watches.length === 1);
  server.watches[0]?.end();
  await server.stop();
  await until(() => reflector.collection().state.state === 'unreachable');
  await until(() => waiting);
});
