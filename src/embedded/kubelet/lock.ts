/**
 * The kubelet's `--lock-file` (cmd/kubelet/app/server.go): an exclusive flock(2), waited for at the start. With `--exit-on-lock-contention` a kubelet
 * exits with status 0 as soon as anyone opens the file (inotify IN_OPEN; it asks for IN_DELETE_SELF, too, which does not come while it has the file open
 * itself). Node's own watcher does not ask for these events; perl, which every Debian has, can make the system calls. Where it cannot, the kubelet exits as
 * soon as anyone waits for the lock.
 */
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/**
 * Node has no flock(2): util-linux' flock takes the lock on a descriptor that it inherits, and the lock stays with that open file until this process
 * ends. @throws when the lock cannot be taken.
 */
export async function takeLock(path: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  const descriptor = openSync(path, 'a', 0o600);
  const child = spawn('flock', ['-x', '3'], { stdio: ['ignore', 'ignore', 'inherit', descriptor] });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', resolve);
  });
  if (code !== 0) {
    closeSync(descriptor);
    throw new Error(`${path}: flock ended with ${code}`);
  }
}

/** Whether /proc/locks shows somebody waiting for a lock on this inode: `7: -> FLOCK  ADVISORY  WRITE 4711 08:01:1234 0 EOF`. */
export function hasWaiter(locks: string, inode: bigint): boolean {
  return locks.split('\n').some((line) => / -> FLOCK /.test(line) && line.includes(`:${inode} `));
}

const POLL_MS = 50;

/** Numbers of inotify_init1(2) and inotify_add_watch(2). */
const CALLS: Readonly<Record<string, { readonly init: number; readonly add: number }>> = {
  x64: { init: 294, add: 254 },
  arm64: { init: 26, add: 27 },
};
/** Says `watching`, and `event` when one comes; ends with its standard input, so that it does not outlive whoever started it. */
const WATCH = `
my ($init, $add, $path) = @ARGV;
my $fd = syscall($init + 0, 0x80000); die "inotify_init1: $!" if $fd < 0;
die "inotify_add_watch: $!" if syscall($add + 0, $fd, $path, 0x20 | 0x400) < 0;
$| = 1; print "watching\\n";
my $in = ""; vec($in, 0, 1) = 1; vec($in, $fd, 1) = 1;
select(my $ready = $in, undef, undef, undef);
print "event\\n" if vec($ready, $fd, 1);
`;

/** Calls back once when somebody opens the file, the lock of which this process has. */
export function onContention(path: string, contended: () => void): void {
  const calls = CALLS[process.arch];
  if (calls === undefined) {
    onWaiter(path, contended);
    return;
  }
  const child = spawn('perl', ['-e', WATCH, String(calls.init), String(calls.add), path], { stdio: ['pipe', 'pipe', 'ignore'] });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => {
    const before = said;
    said += chunk.toString();
    // Whoever opened it before the watch was there waits for the lock by now.
    if (said.includes('event') || (!before.includes('watching') && isWaitedFor(path))) contended();
  });
  const failed = (): void => {
    if (said === '') onWaiter(path, contended);
  };
  child.once('error', failed);
  child.once('exit', failed);
}

function onWaiter(path: string, contended: () => void): void {
  const timer = setInterval(() => {
    if (!isWaitedFor(path)) return;
    clearInterval(timer);
    contended();
  }, POLL_MS);
}

function isWaitedFor(path: string): boolean {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false });
  return found !== undefined && hasWaiter(readFileSync('/proc/locks', 'utf8'), found.ino);
}
