/** What the daemon's actions need, on a store and a static pod directory of a test. */
import type { Effects } from '../../../src/act.ts';
import { withTransaction } from '../../../src/lock/transaction.ts';

const outOfPlace = () => Promise.reject(new Error('not in these tests'));

export function effectsOn(checkpointDir: string, podManifestPath: string): Effects {
  return {
    checkpointDir,
    podManifestPath,
    api: { confirmAbsence: outOfPlace },
    runtime: { stopContainer: outOfPlace, stopSandbox: outOfPlace, removeContainer: outOfPlace },
    stopGraceSeconds: 1,
    wallClock: Date.now,
    transaction: (change, options) => withTransaction(checkpointDir, change, options),
  };
}
