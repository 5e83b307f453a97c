// A container image made on the spot from Debian's busybox-static, as an OCI archive that `ctr images import` reads. No registry is needed.
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';

/** Writes the archive. The image has /bin/busybox and /bin/sh, and sleeps for ever by default: it serves as the pause image too. */
export async function writeBusyboxImage(archive: string, name: string, busybox: string): Promise<void> {
  const layer = tar([
    { path: 'bin/', mode: 0o755, bytes: Buffer.alloc(0) },
    { path: 'bin/busybox', mode: 0o755, bytes: await readFile(busybox) },
    { path: 'bin/sh', mode: 0o777, bytes: Buffer.alloc(0), linkTo: 'busybox' },
    { path: 'tmp/', mode: 0o1777, bytes: Buffer.alloc(0) },
  ]);
  const config = json({
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    config: { Entrypoint: ['/bin/busybox', 'sleep', '2147483647'], Env: ['PATH=/bin'] },
    rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(layer)}`] },
  });
  const manifest = json({
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    config: descriptor('application/vnd.oci.image.config.v1+json', config),
    layers: [descriptor('application/vnd.oci.image.layer.v1.tar', layer)],
  });
  const index = json({
    schemaVersion: 2,
    manifests: [
      {
        ...descriptor('application/vnd.oci.image.manifest.v1+json', manifest),
        annotations: { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name },
      },
    ],
  });
  const blobs = [layer, config, manifest].map((bytes) => ({ path: `blobs/sha256/${sha256(bytes)}`, mode: 0o644, bytes }));
  await writeFile(
    archive,
    tar([
      { path: 'oci-layout', mode: 0o644, bytes: json({ imageLayoutVersion: '1.0.0' }) },
      { path: 'index.json', mode: 0o644, bytes: index },
      ...blobs,
    ]),
  );
}

function descriptor(mediaType: string, bytes: Buffer): { mediaType: string; digest: string; size: number } {
  return { mediaType, digest: `sha256:${sha256(bytes)}`, size: bytes.length };
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

interface Entry {
  /** A directory's ends with a slash. */
  readonly path: string;
  readonly mode: number;
  readonly bytes: Buffer;
  readonly linkTo?: string;
}

const BLOCK = 512;

/** POSIX ustar: a header block of 512 bytes for each entry, the bytes padded to whole blocks, two empty blocks at the end. */
function tar(entries: readonly Entry[]): Buffer {
  const blocks = entries.flatMap((entry) => [header(entry), entry.bytes, Buffer.alloc((BLOCK - (entry.bytes.length % BLOCK)) % BLOCK)]);
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]);
}

function header({ path, mode, bytes, linkTo }: Entry): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, offset: number, length: number): void => {
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, offset, 'latin1');
  };
  block.write(path, 0, 100, 'utf8');
  octal(mode, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(bytes.length, 124, 12);
  octal(0, 136, 12);
  block.write('        ', 148, 'latin1');
  block.write(linkTo !== undefined ? '2' : path.endsWith('/') ? '5' : '0', 156, 'latin1');
  block.write(linkTo ?? '', 157, 100, 'utf8');
  block.write('ustar\x0000', 257, 'latin1');
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
  return block;
}
