/**
 * How much of Node's thread pool may wait for a disk. The pool has 4 threads, every call of the file system takes one until it returns, and an fsync on a
 * disk that hangs takes as long as it likes. So of all writes to a disk
 *
 *  1. at most 3 are under way at a time, whatever they are: one thread is always left to observe with;
 *  2. at most 2 of them are `background` (saves, pointers, the status): what ends an outage (`urgent`: activations, removals of manifests, the
 *     store's lock) never waits for a save to end. Two, because the file system then commits both with one flush.
 *
 * Nothing in a lane may ask for a lane: it would wait for itself.
 */
export type Lane = 'background' | 'urgent';

const WIDTH = 3;
export const BACKGROUND_WIDTH = 2;

interface Waiting {
  readonly lane: Lane;
  readonly begin: () => void;
}

/** One for the process, because the pool is. */
const running: Record<Lane, number> = { background: 0, urgent: 0 };
const waiting: Waiting[] = [];

/** Runs a write that waits for the disk when its lane has room; in a lane, first come, first served. */
export async function inLane<T>(lane: Lane, write: () => Promise<T>): Promise<T> {
  await new Promise<void>((begin) => {
    waiting.push({ lane, begin });
    beginNext();
  });
  try {
    return await write();
  } finally {
    running[lane]--;
    beginNext();
  }
}

function beginNext(): void {
  for (;;) {
    const next = ['urgent', 'background']
      .flatMap((lane) => waiting.find((one) => one.lane === lane) ?? [])
      .find(({ lane }) => hasRoom(lane));
    if (next === undefined) return;
    waiting.splice(waiting.indexOf(next), 1);
    running[next.lane]++;
    next.begin();
  }
}

function hasRoom(lane: Lane): boolean {
  return running.background + running.urgent < WIDTH && (lane === 'urgent' || running.background < BACKGROUND_WIDTH);
}

/** Runs background writes as wide as their lane is. After the first failure no further one begins; those under way are waited for. Throws that failure. */
export async function allInBackground(writes: readonly (() => Promise<void>)[]): Promise<void> {
  const left = writes.values();
  let failure: { readonly error: unknown } | undefined;
  const worker = async () => {
    for (const write of left) {
      if (failure !== undefined) return;
      await inLane('background', write).catch((error: unknown) => {
        failure ??= { error };
      });
    }
  };
  await Promise.all(Array.from({ length: Math.min(BACKGROUND_WIDTH, writes.length) }, worker));
  if (failure !== undefined) throw failure.error;
}
