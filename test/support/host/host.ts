/** A node's disk in a directory: a store with proven copies, the kubelet's manifest directory, a boot id; and the command line run on it. */
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { act, type Effects } from '../../../src/act.ts';
import { prepareStore } from '../../../src/checkpoint/store/layout.ts';
import { readStore } from '../../../src/checkpoint/store/read.ts';
import { type Workload, workloadKey } from '../../../src/checkpoint/workload.ts';
import { container, copyOf, markedPod, NAMESPACE, secret } from '../marked-pods.ts';

const CLI = fileURLToPath(new URL('../../../src/cli.ts', import.meta.url));

export const workloadNamed = (name: string): Workload => ({ namespace: NAMESPACE, group: 'apps', kind: 'DaemonSet', name });

export interface Host {
  readonly dir: string;
  readonly store: string;
  readonly manifests: string;
  readonly lockFile: string;
  readonly bootIdFile: string;
  /** A new boot id, as after a power cut. */
  powerOn(): Promise<void>;
  /** Saves a generation and marks it proven; `image` is what tells one from another. */
  save(name: string, image?: string): Promise<number>;
  /** Names of the files that the kubelet reads. */
  active(): Promise<string[]>;
  /** The flags that name this host's places. */
  flags(): string[];
  [Symbol.asyncDispose](): Promise<void>;
}

export async function testHost(base = tmpdir()): Promise<Host> {
  const dir = await mkdtemp(join(base, 'host-'));
  const at = (name: string) => join(dir, name);
  const [store, manifests, bootIdFile, lockFile] = [at('store'), at('manifests'), at('boot_id'), at('pod-checkpointer.lock')];
  await mkdir(manifests);
  await prepareStore(store);
  const no = () => Promise.reject(new Error('a disk alone has neither API server nor runtime'));
  const effects: Effects = {
    checkpointDir: store,
    podManifestPath: manifests,
    wallClock: Date.now,
    stopGraceSeconds: 0,
    transaction: (change) => change(),
    api: { confirmAbsence: no },
    runtime: { stopContainer: no, stopSandbox: no, removeContainer: no },
  };
  const host: Host = {
    dir,
    store,
    manifests,
    lockFile,
    bootIdFile,
    powerOn: () => writeFile(bootIdFile, `${randomUUID()}\n`),
    save: async (name, image = `registry.example.org/${name}:1`) => {
      const workload = workloadNamed(name);
      const owner = { apiVersion: 'apps/v1', kind: 'DaemonSet', name, uid: `uid-${name}`, controller: true };
      const pod = markedPod(
        {
          hostNetwork: true,
          containers: [container({ name, image, volumeMounts: [{ name: 'keys', mountPath: '/keys' }] })],
          volumes: [{ name: 'keys', secret: { secretName: 'keys' } }],
        },
        { name: `${name}-x7k2f`, uid: `pod-${name}`, ownerReferences: [owner] },
      );
      const copy = copyOf(pod, { 'Secret/keys': secret({ 'tls.key': `key of ${name}`, 'tls.crt': `certificate of ${name}` }) });
      const parent = { name: `${name}-x7k2f`, uid: `pod-${name}` };
      await act({ kind: 'save', workload, copy, parent }, effects);
      const generation = (await readStore(store)).workloads.get(workloadKey(workload))?.stored.newest ?? 0;
      await act({ kind: 'prove', workload, generation }, effects);
      return generation;
    },
    active: async () => (await readdir(manifests)).sort(),
    flags: () => [
      `--checkpoint-dir=${store}`,
      `--pod-manifest-path=${manifests}`,
      `--lock-file=${lockFile}`,
      `--boot-id-file=${bootIdFile}`,
      `--kubeconfig=${at('kubelet.conf')}`,
    ],
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
  await host.powerOn();
  return host;
}

export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs `checkpointer <argv>` to its end, with nothing on its standard input. */
export async function checkpointer(...argv: string[]): Promise<Ran> {
  const child = spawn(process.execPath, [CLI, ...argv], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  const [out, err, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { code, out, err };
}
