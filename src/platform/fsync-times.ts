/** How long each fsync of a durable write took, in seconds: published where it is done, measured by whoever subscribes. Without a subscriber it costs nothing. */
import { channel } from 'node:diagnostics_channel';
import type { FileHandle } from 'node:fs/promises';

const fsyncs = channel('pod-checkpointer:fsync');

export async function timedSync(file: FileHandle): Promise<void> {
  const started = performance.now();
  await file.sync();
  if (fsyncs.hasSubscribers) fsyncs.publish((performance.now() - started) / 1000);
}

export function onFsync(listener: (seconds: number) => void): void {
  fsyncs.subscribe((seconds) => {
    if (typeof seconds === 'number') listener(seconds);
  });
}
