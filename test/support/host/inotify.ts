/**
 * Watches one file as a kubelet with --exit-on-lock-contention does: inotify, IN_OPEN and IN_DELETE_SELF. Node's own watcher does not ask for IN_OPEN;
 * perl, which every Debian has, can make the system calls.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

const CALLS: Readonly<Record<string, { readonly init: number; readonly add: number }>> = {
  x64: { init: 294, add: 254 },
  arm64: { init: 26, add: 27 },
};
const SCRIPT = `
my ($init, $add, $path) = @ARGV;
my $fd = syscall($init + 0, 0); die "inotify_init1: $!" if $fd < 0;
die "inotify_add_watch: $!" if syscall($add + 0, $fd, $path, 0x20 | 0x400) < 0;
$| = 1; print "watching\\n";
open(my $events, "<&=", $fd) or die; sysread($events, my $buffer, 4096) or die;
print "event\\n";
`;

export interface Watched {
  /** Whether the file has been opened or removed. */
  touched(): boolean;
  stop(): void;
}

export async function watchOpens(path: string): Promise<Watched> {
  const calls = CALLS[process.arch];
  if (calls === undefined) throw new Error(`no inotify system calls known for ${process.arch}`);
  const child: ChildProcess = spawn('perl', ['-e', SCRIPT, String(calls.init), String(calls.add), path], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString();
  });
  while (!output.includes('watching')) await once(child.stdout ?? child, 'data');
  return { touched: () => output.includes('event'), stop: () => child.kill() };
}
