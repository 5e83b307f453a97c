/** `embedded demo`: the daemon's main job, live, on an embedded node. Exits non-zero if the control plane did not come back. */
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { createNode, type EmbeddedNode } from '../node/node.ts';
import { type DaemonLog, followDaemons } from './daemon-log.ts';
import { createShow, type Show, showDaemon, showEvent } from './show.ts';
import { cutPower, deleteApiServerPod, install, type Recovery, rotateSecret } from './story.ts';

/** Shorter than the defaults, so that nobody has to wait for what only takes patience. */
const FLAGS = ['--prove-after=2s', '--stable-for=3s'];
const ROTATIONS = 200;

export async function demoCommand(argv: readonly string[]): Promise<void> {
  if (argv.length > 0) throw new Error('demo takes no arguments');
  const show = createShow(process.stdout);
  const bundle = process.argv[1] ?? '';
  const started = performance.now();
  const nodes: EmbeddedNode[] = [];
  const scene = async <T>(portSharing: boolean, play: (node: EmbeddedNode, log: DaemonLog) => Promise<T>): Promise<T> => {
    const node = await createNode({
      embedded: [process.execPath, bundle],
      checkpointer: [process.execPath, join(dirname(bundle), 'checkpointer.js')],
      portSharing,
      checkpointerFlags: FLAGS,
    });
    nodes.push(node);
    node.timeline.listen((event) => showEvent(show, event));
    const log = followDaemons(node, (line) => showDaemon(show, line));
    try {
      return await play(node, log);
    } finally {
      await log.stop();
      await node.destroy();
    }
  };
  const ended = new Promise<never>((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => reject(new Error(`ended by ${signal}`)));
  });
  try {
    const figures = await Promise.race([play(show, scene), ended]);
    show.waitingFor(undefined);
    summary(show, figures, performance.now() - started);
  } catch (error) {
    show.waitingFor(undefined);
    show.plain(`\nThe control plane did not come back: ${error instanceof Error ? error.message : String(error)}`);
    for (const node of nodes) await lastWords(node, show);
    process.exitCode = 1;
  } finally {
    for (const node of nodes) await node.destroy();
    show.end();
  }
}

type Scene = <T>(portSharing: boolean, play: (node: EmbeddedNode, log: DaemonLog) => Promise<T>) => Promise<T>;

interface Figures {
  readonly rotation: Awaited<ReturnType<typeof rotateSecret>>;
  readonly shared: Recovery;
  readonly exclusive: Recovery;
  readonly deleted: Awaited<ReturnType<typeof deleteApiServerPod>>;
}

async function play(show: Show, scene: Scene): Promise<Figures> {
  show.heading('1. A self-hosted control plane: API server, controller manager and scheduler are ordinary pods');
  const first = await scene(true, async (node, log) => {
    show.waitingFor('every copy to be proven');
    await install(node);
    show.heading(`2. A Secret is rotated ${ROTATIONS} times: each time a new durable generation`);
    show.waitingFor('the last rotation');
    const rotation = await rotateSecret(node, ROTATIONS);
    show.line('info', `Secret changed → durable generation: median ${ms(rotation.median)}, p99 ${ms(rotation.p99)}`);
    show.heading('3. The power is cut; two API servers may share the port');
    show.waitingFor('the control plane to come back and hand over');
    return { rotation, shared: await cutPower(node, log) };
  });
  show.waitingFor(undefined);
  show.heading('4. The same on a port that only one API server can have');
  const second = await scene(false, async (node, log) => {
    show.waitingFor('every copy to be proven');
    await install(node);
    show.waitingFor('the control plane to come back and hand over');
    const exclusive = await cutPower(node, log);
    show.heading("5. The only API server's pod is deleted");
    show.waitingFor('its copy, and the hand-over to a new pod');
    return { exclusive, deleted: await deleteApiServerPod(node) };
  });
  return { ...first, ...second };
}

function summary(show: Show, { rotation, shared, exclusive, deleted }: Figures, total: number): void {
  const recovery = ({ powerOnToReady, lockToManifests, powerOnToStable, outages }: Recovery) =>
    `ready ${ms(powerOnToReady)} after power on, manifests ${lockToManifests === undefined ? 'before the lock' : `${ms(lockToManifests)} after the lock`}, stable after ${ms(powerOnToStable)}, later outages: ${outages.length === 0 ? 'none' : outages.map(ms).join(', ')}`;
  show.heading('The control plane came back every time.');
  show.plain(`  power cut, shared port      ${recovery(shared)}`);
  show.plain(`  power cut, exclusive port   ${recovery(exclusive)}`);
  show.plain(
    `  API server's pod deleted    manifest ${ms(deleted.endToManifest)} after its end (--activate-after 3 s), outage ${ms(deleted.outage)}`,
  );
  show.plain(`  Secret → durable            median ${ms(rotation.median)}, p99 ${ms(rotation.p99)} of ${rotation.count} changes`);
  show.plain(`  the demo took               ${ms(total)}`);
}

const ms = (value: number): string => (value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`);

/** The end of every program's log, before the directory goes. */
async function lastWords(node: EmbeddedNode, show: Show): Promise<void> {
  for (const file of await readdir(node.layout.log).catch(() => [])) {
    const text = await readFile(join(node.layout.log, file), 'utf8').catch(() => '');
    show.plain(`--- ${file}\n${text.trimEnd().split('\n').slice(-10).join('\n')}`);
  }
}
