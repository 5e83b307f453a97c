/**
 * The daemon's own loop on a real store, with a pod whose content the test says: `daemon <store> <manifests> <lock file>`. Each line on standard input is the
 * pod's new content, or "down": from then on a second pod, of an API server that is stored and proven, does not run. "observed" is said for every
 * observation, the log goes to standard error. It holds the leader lock as the daemon does.
 */
import { createInterface } from 'node:readline';
import { prepareStore } from '../../../src/checkpoint/store/layout.ts';
import { workloadKey } from '../../../src/checkpoint/workload.ts';
import { createWake, runDaemon } from '../../../src/daemon.ts';
import { acquireLeaderLock } from '../../../src/lock/leader.ts';
import { createLog } from '../../../src/platform/log.ts';
import { createReporter } from '../../../src/report/reporter.ts';
import { createDiskSource } from '../../../src/sources/disk.ts';
import { observation, POLICY, parent, runtimePod, workload } from '../observations.ts';
import { effectsOn } from './effects.ts';
import { APISERVER, SCHEDULER, sampleCopy } from './sample.ts';

async function main(store: string, manifests: string, lockFile: string): Promise<void> {
  const ending = new AbortController();
  process.once('SIGTERM', () => ending.abort());
  const lock = await acquireLeaderLock({ path: lockFile, signal: ending.signal, onWaiting: () => undefined });
  await prepareStore(store);
  const wake = createWake();
  let content = 'one';
  let down = false;
  createInterface({ input: process.stdin }).on('line', (line) => {
    if (line === 'down') down = true;
    else content = line;
    wake.wake();
  });
  const disk = createDiskSource(store, manifests);
  const log = createLog(0);
  await runDaemon({
    effects: { ...effectsOn(store, manifests), onDamage: disk.markDamaged },
    policy: { ...POLICY, downFor: 1_000 },
    clock: () => performance.now(),
    observe: async () => {
      const read = await disk.read();
      process.stdout.write('observed\n');
      const stored = read.state === 'ok' ? read.store.workloads.get(workloadKey(SCHEDULER))?.stored : undefined;
      const pod = parent({ kind: 'copy', copy: sampleCopy(content) });
      const seen = workload(SCHEDULER, { parent: { state: 'present', pod }, parentPods: [runtimePod('running')], stored });
      const other = workload(APISERVER, {
        parent: { state: 'present', pod: parent({ kind: 'waiting', objects: [] }) },
        parentPods: down ? [] : [runtimePod('running')],
        stored: read.state === 'ok' ? read.store.workloads.get(workloadKey(APISERVER))?.stored : undefined,
        active: read.state === 'ok' ? read.manifests : [],
      });
      return observation(other.stored === undefined ? [seen] : [seen, other], {
        now: performance.now(),
        disk: read.state === 'ok' ? { state: 'ok' } : { state: 'unknown', detail: read.detail },
      });
    },
    wake,
    pace: { quiet: () => 200, flux: 200 },
    reporter: createReporter({ checkpointDir: store, log, wallClock: Date.now, nodeName: 'n1' }),
    log,
    signal: ending.signal,
  });
  await lock.release();
  process.exit(0);
}

void main(process.argv[2] ?? '', process.argv[3] ?? '', process.argv[4] ?? '');
