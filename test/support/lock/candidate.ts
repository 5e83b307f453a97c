// A process that wants to lead: `candidate.ts <lock file>`. Says "waiting" and "leads" on stdout; SIGTERM ends the wait or gives the lock back.
import { acquireLeaderLock } from '../../../src/lock/leader.ts';

const [path = ''] = process.argv.slice(2);
const ended = new AbortController();
process.once('SIGTERM', () => ended.abort());
const alive = setInterval(() => undefined, 60_000);
try {
  const lock = await acquireLeaderLock({ path, signal: ended.signal, onWaiting: () => console.log('waiting') });
  console.log('leads');
  if (!ended.signal.aborted) await new Promise((resolve) => ended.signal.addEventListener('abort', resolve));
  lock.release();
  console.log('released');
} catch (error) {
  console.log(ended.signal.aborted ? 'gave up' : `failed: ${error}`);
}
clearInterval(alive);
