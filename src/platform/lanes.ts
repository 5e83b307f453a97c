/**
 * How much of Node's thread pool may wait for a disk. The pool has 4 threads, every call of the file system takes one until it returns, and an fsync on a
 * disk that hangs takes as long as it likes. So of all writes that wait for the disk (files and directories that are fsynced)
 *
 *  1. at most 2 are under way at a time, whatever they are: with the renewal of the store's lock that leaves one thread to observe with;
 *  2. at most 1 of them is `background` (saves, pointers, the status): what ends an outage (`urgent`: activations, removals of manifests) never waits
 *     for a save to end.
 *
 * Nothing in a lane may ask for a lane: it would wait for itself.
 */
export type Lane = 'background' | 'urgent';

const WIDTH = 2;
const BACKGROUND_WIDTH = 1;

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
