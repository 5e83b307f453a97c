// `mount-watcher.ts <directory>`: says "watching", and the reason when the directory that is mounted is not the host's any more.
import { watchMount } from '../../../src/sources/manifest-mount.ts';

const alive = setInterval(() => undefined, 60_000);
watchMount(
  process.argv[2] ?? '',
  (reason) => {
    console.log(reason);
    clearInterval(alive);
  },
  30,
);
// After its first look.
setTimeout(() => console.log('watching'), 100);
