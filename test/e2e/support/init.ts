/**
 * The first process of a node, in its own mount, PID, network, UTS and IPC namespaces: `node init.ts <directory> <folder of the Kubernetes programs>`.
 * An empty /run, the node's disk, a new boot id, the network; then etcd and containerd, the boot unit where the disk has one, as systemd orders it before
 * the kubelet, and the kubelet. What ends is started again after a second. Children of others that it inherits stay zombies: the next power cut is near.
 */
import { spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { dump } from 'js-yaml';
import { ADDRESS, BOOT_ID_FILE, filesOf, MOUNTS, NODE_NAME } from './layout.ts';

const RESTART_MS = 1000;
const [directory = '', kubeBin = ''] = process.argv.slice(2);
const files = filesOf(directory);

function run(program: string, ...args: readonly string[]): void {
  const { status, error, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  if (error !== undefined || status !== 0) throw error ?? new Error(`${program} ${args.join(' ')} ended with ${status}: ${stderr}`);
}

async function keep(name: string, program: string, ...args: readonly string[]): Promise<never> {
  const log = openSync(join(files.logs, `${name}.log`), 'a');
  for (;;) {
    writeSync(log, `${new Date().toISOString()} start of ${name}\n`);
    const child = spawn(program, args, { stdio: ['ignore', log, log] });
    const ended = await new Promise<string>((resolve) => {
      child.once('error', (error) => resolve(error.message));
      child.once('exit', (code, signal) => resolve(`${code ?? signal}`));
    });
    writeSync(log, `${new Date().toISOString()} ${name} ended: ${ended}\n`);
    await sleep(RESTART_MS);
  }
}

function listens(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = createConnection(socket);
    connection.once('connect', () => {
      connection.destroy();
      resolve(true);
    });
    connection.once('error', () => resolve(false));
  });
}

/** ExecStart of a unit that install-host wrote; its words have no quotes. */
function bootCommand(): readonly string[] {
  const unit = readFileSync(files.bootUnit, 'utf8');
  return (/^ExecStart=(.*)$/m.exec(unit)?.[1] ?? '').split(' ');
}

async function bootUnit(): Promise<void> {
  if (!existsSync(files.bootUnit)) return;
  const [program = '', ...args] = bootCommand();
  const log = openSync(join(files.logs, 'boot-unit.log'), 'a');
  const started = performance.now();
  const code = await new Promise((resolve) => {
    const child = spawn(program, args, { stdio: ['ignore', log, log] });
    child.once('error', (error) => resolve(error.message));
    child.once('exit', resolve);
  });
  writeSync(log, `${new Date().toISOString()} ended with ${code} after ${Math.round(performance.now() - started)} ms\n`);
}

run('mount', '--make-rprivate', '/');
run('mount', '-t', 'proc', 'proc', '/proc');
run('mount', '-t', 'tmpfs', 'tmpfs', '/run');
for (const name of ['lock', 'netns', 'containerd']) mkdirSync(join('/run', name));
for (const [on, at] of MOUNTS) {
  mkdirSync(at, { recursive: true });
  run('mount', '--bind', join(files.disk, on), at);
}
writeFileSync(BOOT_ID_FILE, `${randomUUID()}\n`);
run('mount', '--bind', BOOT_ID_FILE, '/proc/sys/kernel/random/boot_id');
run('mount', '--make-rshared', '/');
run('hostname', NODE_NAME);
run('ip', 'link', 'set', 'lo', 'up');
// A bridge, because not every kernel has dummy devices; the address is that of the node, and the default route names it, so that it is found.
run('ip', 'link', 'add', 'node0', 'type', 'bridge');
run('ip', 'address', 'add', `${ADDRESS}/24`, 'dev', 'node0');
run('ip', 'link', 'set', 'node0', 'up');
run('ip', 'route', 'add', 'default', 'via', ADDRESS, 'dev', 'node0');

writeFileSync(
  '/run/etcd.yaml',
  dump({
    name: 'default',
    'data-dir': '/var/lib/etcd',
    'listen-client-urls': 'http://127.0.0.1:2379',
    'advertise-client-urls': 'http://127.0.0.1:2379',
    'listen-peer-urls': 'http://127.0.0.1:2380',
    'initial-advertise-peer-urls': 'http://127.0.0.1:2380',
    'initial-cluster': 'default=http://127.0.0.1:2380',
  }),
);
void keep('etcd', join(kubeBin, 'etcd'), '--config-file', '/run/etcd.yaml');
void keep('containerd', 'containerd', '--config', files.containerdConfig);
const activated = bootUnit();
while (!(await listens('/run/containerd/containerd.sock'))) await sleep(20);
await activated;
void keep(
  'kubelet',
  join(kubeBin, 'kubelet'),
  '--config=/etc/kubernetes/kubelet.yaml',
  '--kubeconfig=/etc/kubernetes/kubelet.conf',
  `--node-ip=${ADDRESS}`,
  `--hostname-override=${NODE_NAME}`,
  '--v=2',
);
