// Builds the image with buildah, as root, without a daemon, and writes it as an OCI archive that is the same each time.
//
//     node scripts/image.ts [--name=registry.example.org/pod-checkpointer] [--out=dist] [--builder=<image> | --machine-base [--arch=amd64|arm64]]
//
// --machine-base builds on this machine's own Node, libraries and node_modules instead of the Dockerfile's base, where no registry of images can be reached.
// With --arch for another architecture, Node comes from npm's registry and the rest from Debian's packages (foreign-system.ts); nothing of it is run.
// SOURCE_DATE_EPOCH, SOURCE_REVISION and SOURCE_URL stand in the image; the first two are by default those of the commit.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { readVersion, sourceDateEpoch, sourceRevision } from './bundle.ts';
import { type Architecture, fetchForeignSystem } from './foreign-system.ts';
import { fillMachineBase } from './machine-base.ts';
import { tar } from './tar.ts';

const { values } = parseArgs({
  options: {
    name: { type: 'string', default: 'pod-checkpointer' },
    out: { type: 'string', default: 'dist' },
    builder: { type: 'string' },
    'machine-base': { type: 'boolean', default: false },
    arch: { type: 'string' },
  },
});
const version = await readVersion();
const epoch = sourceDateEpoch();
const revision = sourceRevision();
const own = architecture(process.arch === 'x64' ? 'amd64' : process.arch);
const arch = architecture(values.arch ?? own);
if (arch !== own && !values['machine-base'])
  throw new Error(
    `--arch=${arch}: a base from a registry runs on a machine of its own architecture; expected --machine-base, or that machine`,
  );
/** In the machine's base: the other architecture's system. */
const SYSTEM = '/system';

const work = mkdtempSync(join(tmpdir(), 'image-'));
try {
  const reference = `${values.name}:${version}`;
  const layout = join(work, 'layout');
  const builder = values['machine-base'] ? await machineBase() : values.builder;
  buildah(
    'build',
    '--isolation=chroot',
    '--identity-label=false',
    `--timestamp=${epoch}`,
    `--arch=${arch}`,
    '--tag=built',
    ...buildArguments(builder),
    '.',
  );
  buildah('push', '--quiet', 'built', `oci:${layout}:${version}`);
  const archive = archiveOf(layout, reference);
  const file = join(values.out, `pod-checkpointer-${version}-linux-${arch}.oci.tar`);
  mkdirSync(values.out, { recursive: true });
  writeFileSync(file, archive);
  const unpacked = sizeUnpacked(layout);
  console.log(`${file}  ${reference}  ${mib(archive.length)} compressed, ${mib(unpacked)} unpacked`);
} finally {
  // Its storage belongs to buildah's own mounts until these are gone; with chroot isolation and vfs there are none left.
  rmSync(work, { recursive: true, force: true });
}

function buildArguments(builder: string | undefined): string[] {
  const given = {
    VERSION: version,
    SOURCE_DATE_EPOCH: String(epoch),
    SOURCE_REVISION: revision,
    SOURCE_URL: process.env['SOURCE_URL'] ?? '',
    ...(builder !== undefined && { BUILDER: builder }),
    ...(values['machine-base'] && { INSTALL: 'true' }),
    ...(arch !== own && { SYSTEM }),
  };
  return Object.entries(given).map(([name, value]) => `--build-arg=${name}=${value}`);
}

function architecture(name: string): Architecture {
  if (name !== 'amd64' && name !== 'arm64') throw new Error(`--arch=${name}: expected amd64 or arm64`);
  return name;
}

/** Its name among buildah's images. */
async function machineBase(): Promise<string> {
  const root = join(work, 'machine');
  await fillMachineBase(root, process.env['BUSYBOX'] ?? '/bin/busybox');
  if (arch !== own) fetchForeignSystem(join(root, SYSTEM), arch);
  const container = buildah('from', 'scratch');
  // Called what it is the base of, or a build for another architecture would not take it. Its programs are this machine's.
  buildah('config', `--arch=${arch}`, '--env=PATH=/usr/local/bin:/usr/bin:/bin', container);
  buildah('copy', '--quiet', container, root, '/');
  buildah('commit', '--quiet', '--rm', container, 'localhost/machine-base');
  rmSync(root, { recursive: true });
  return 'localhost/machine-base';
}

/** vfs needs no file system of a special kind; everything of the build is below our own directory. */
function buildah(command: string, ...args: readonly string[]): string {
  const storage = ['--storage-driver=vfs', `--root=${join(work, 'storage')}`, `--runroot=${join(work, 'run')}`];
  const { status, signal, error, stdout } = spawnSync('buildah', [...storage, command, ...args], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 64 << 20,
  });
  if (error !== undefined) throw new Error(`buildah: ${error.message}; on Debian: apt-get install buildah`);
  if (status !== 0) throw new Error(`buildah ${command} ended with ${status ?? signal}\n${stdout}`);
  return stdout.trim();
}

interface Descriptor {
  readonly digest: string;
  readonly size: number;
}

/** containerd's and Docker's import take the name from the index; the archive that buildah writes itself has the time of its making in it. */
function archiveOf(layout: string, reference: string): Buffer {
  const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as { readonly manifests: readonly (Descriptor & object)[] };
  const named = {
    schemaVersion: 2,
    mediaType: 'application/vnd.oci.image.index.v1+json',
    manifests: index.manifests.map((manifest) => ({
      ...manifest,
      platform: { architecture: arch, os: 'linux' },
      annotations: { 'io.containerd.image.name': normalized(reference), 'org.opencontainers.image.ref.name': version },
    })),
  };
  const blobs = readdirSync(join(layout, 'blobs/sha256')).sort();
  return tar(
    [
      { path: 'oci-layout', mode: 0o644, bytes: readFileSync(join(layout, 'oci-layout')) },
      { path: 'index.json', mode: 0o644, bytes: Buffer.from(JSON.stringify(named)) },
      ...blobs.map((name) => ({ path: `blobs/sha256/${name}`, mode: 0o644, bytes: verified(join(layout, 'blobs/sha256', name), name) })),
    ],
    epoch,
  );
}

function verified(file: string, digest: string): Buffer {
  const bytes = readFileSync(file);
  if (createHash('sha256').update(bytes).digest('hex') !== digest) throw new Error(`${file}: its content has another SHA-256`);
  return bytes;
}

/** As containerd writes a name without a registry (https://github.com/distribution/reference). */
function normalized(reference: string): string {
  const [first = '', ...rest] = reference.split('/');
  if (rest.length === 0) return `docker.io/library/${reference}`;
  return /[.:]|^localhost$/.test(first) ? reference : `docker.io/${reference}`;
}

/** Bytes of the layers as the runtime unpacks them. */
function sizeUnpacked(layout: string): number {
  const layers = manifestOf(layout).layers;
  return layers.reduce((sum, { digest }) => {
    const { stdout } = spawnSync('gzip', ['-dc', join(layout, 'blobs/sha256', digest.slice('sha256:'.length))], { maxBuffer: 1 << 30 });
    return sum + stdout.length;
  }, 0);
}

function manifestOf(layout: string): { readonly layers: readonly Descriptor[] } {
  const index = JSON.parse(readFileSync(join(layout, 'index.json'), 'utf8')) as { readonly manifests: readonly Descriptor[] };
  const digest = index.manifests[0]?.digest ?? '';
  return JSON.parse(readFileSync(join(layout, 'blobs/sha256', digest.slice('sha256:'.length)), 'utf8')) as {
    readonly layers: readonly Descriptor[];
  };
}

function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
