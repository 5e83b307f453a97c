/** Images made of programs of this machine, as archives that `ctr images import` reads. */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { tar } from '../../../scripts/tar.ts';

export const REGISTRY = 'registry.local';
export const PAUSE_IMAGE = `${REGISTRY}/pause:1`;
export const imageOf = (program: string): string => `${REGISTRY}/${program}:e2e`;

/** An image with one statically linked program, which is its entry point. */
export async function writeProgramImage(archive: string, name: string, program: string): Promise<void> {
  const path = `usr/local/bin/${basename(program)}`;
  const directories = ['usr/', 'usr/local/', 'usr/local/bin/'].map((at) => ({ path: at, mode: 0o755, bytes: Buffer.alloc(0) }));
  const layer = tar([...directories, { path, mode: 0o755, bytes: await readFile(program) }], 0);
  const config = Buffer.from(
    JSON.stringify({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: { Entrypoint: [`/${path}`], Env: ['PATH=/usr/local/bin'] },
      rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(layer)}`] },
    }),
  );
  const manifest = [{ Config: 'config.json', RepoTags: [name], Layers: ['layer.tar'] }];
  await writeFile(
    archive,
    tar(
      [
        { path: 'config.json', mode: 0o644, bytes: config },
        { path: 'layer.tar', mode: 0o644, bytes: layer },
        { path: 'manifest.json', mode: 0o644, bytes: Buffer.from(JSON.stringify(manifest)) },
      ],
      0,
    ),
  );
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
