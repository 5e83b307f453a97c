/** The checkpointer as a user gets it: the image of scripts/image.ts, the manifests of this repository. */
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { dump } from 'js-yaml';
import { readVersion } from '../../../scripts/bundle.ts';
import { REGISTRY } from './images.ts';
import { BOOT_ID_FILE } from './layout.ts';
import { execute, type RealNode } from './node.ts';

const REPOSITORY = join(import.meta.dirname, '../../..');
const IMAGE = `${REGISTRY}/pod-checkpointer`;
export type Overlay = 'node-identity' | 'host-units' | 'from-bootkube';

/** Builds the image and puts its archive into the directory. Takes about 20 s. */
export async function buildImage(directory: string): Promise<string> {
  await mkdir(directory, { recursive: true });
  const script = ['scripts/image.ts', '--machine-base', `--name=${IMAGE}`, `--out=${directory}`];
  execFileSync(process.execPath, script, { cwd: REPOSITORY, stdio: ['ignore', 'ignore', 'inherit'] });
  const archive = (await readdir(directory)).find((name) => name.startsWith('pod-checkpointer-') && name.endsWith('.oci.tar'));
  if (archive === undefined) throw new Error(`${directory}: scripts/image.ts left no archive of the image`);
  return join(directory, archive);
}

export interface Installation {
  readonly overlay: Overlay;
  /** Of the image; by default the one that this repository makes. */
  readonly tag?: string;
  /** Further flags of the daemon. */
  readonly flags?: readonly string[];
}

/**
 * Applies the overlay. Two flags are the harness': a shorter time until a copy is proven, so that a node is made faster, and the file with the boot id,
 * because every container here sees that of the machine.
 */
export async function install(node: RealNode, { overlay, tag, flags = [] }: Installation): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'kustomize-'));
  try {
    const added = ['--prove-after=10s', `--boot-id-file=${BOOT_ID_FILE}`, ...flags];
    await writeFile(
      join(directory, 'kustomization.yaml'),
      dump({
        apiVersion: 'kustomize.config.k8s.io/v1beta1',
        kind: 'Kustomization',
        resources: [relative(directory, join(REPOSITORY, 'manifests/overlays', overlay))],
        images: [{ name: 'pod-checkpointer', newName: IMAGE, newTag: tag ?? (await readVersion()) }],
        patches: [
          {
            target: { kind: 'DaemonSet', name: 'pod-checkpointer' },
            patch: dump(added.map((value) => ({ op: 'add', path: '/spec/template/spec/containers/0/args/-', value }))),
          },
        ],
      }),
    );
    await node.kubectl(['apply', '--filename=-'], await execute('kubectl', ['kustomize', directory]));
  } finally {
    await rm(directory, { recursive: true });
  }
}
