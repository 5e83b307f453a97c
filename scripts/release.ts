// Makes everything that a release holds for this machine's architecture, or for those given, the same bytes each time:
//
//     node scripts/release.ts [--image=registry.example.org/pod-checkpointer] [--out=dist/release]
//                             [--builder=<image> | --machine-base [--arch=amd64] [--arch=arm64]]
//
//     checkpointer-<version>-linux-<arch>               the executable
//     pod-checkpointer-<version>-linux-<arch>.oci.tar   the image, an OCI archive
//     pod-checkpointer-<version>-linux-<arch>.cdx.json  what is in both (CycloneDX)
//     pod-checkpointer-<version>-manifests.tar.gz       the kustomizations, with image and version filled in
//     third-party-licenses.txt, CHANGELOG.md, LICENSE
//     SHA256SUMS-<arch>                                 for sha256sum -c
//
// The executable is the one in the image, so it too is built on the Dockerfile's base. Root and buildah are needed. --machine-base and --arch as in image.ts.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { readVersion, sourceDateEpoch } from './bundle.ts';
import { type Entry, tar } from './tar.ts';

const { values } = parseArgs({
  options: {
    image: { type: 'string', default: 'pod-checkpointer' },
    out: { type: 'string', default: 'dist/release' },
    builder: { type: 'string' },
    'machine-base': { type: 'boolean', default: false },
    arch: { type: 'string', multiple: true, default: [process.arch === 'x64' ? 'amd64' : process.arch] },
  },
});
const version = await readVersion();
const epoch = sourceDateEpoch();
const stem = `pod-checkpointer-${version}`;
const out = values.out;

rmSync(out, { recursive: true, force: true });
mkdirSync(out, { recursive: true });
const base = values['machine-base'] ? ['--machine-base'] : values.builder === undefined ? [] : [`--builder=${values.builder}`];
for (const arch of values.arch) {
  execFileSync(process.execPath, ['scripts/image.ts', `--name=${values.image}`, `--out=${out}`, `--arch=${arch}`, ...base], {
    stdio: 'inherit',
  });
  takeFromImage(join(out, `${stem}-linux-${arch}.oci.tar`), {
    checkpointer: `checkpointer-${version}-linux-${arch}`,
    'usr/share/pod-checkpointer/sbom.cdx.json': `${stem}-linux-${arch}.cdx.json`,
    'usr/share/pod-checkpointer/third-party-licenses.txt': 'third-party-licenses.txt',
  });
  chmodSync(join(out, `checkpointer-${version}-linux-${arch}`), 0o755);
}
writeFileSync(join(out, `${stem}-manifests.tar.gz`), gzipSync(tar(manifests(), epoch), { level: 9 }));
for (const file of ['LICENSE', 'CHANGELOG.md']) copyFileSync(file, join(out, file));
const names = readdirSync(out).sort();
for (const arch of values.arch) writeFileSync(join(out, `SHA256SUMS-${arch}`), checksums(names.filter((name) => isFor(arch, name))));
for (const name of names) console.log(`${(statSync(join(out, name)).size / 2 ** 20).toFixed(2).padStart(8)} MiB  ${join(out, name)}`);
for (const arch of ['amd64', 'arm64'].filter((one) => !values.arch.includes(one)))
  console.log(
    `Not in it: ${arch}. It is made by the same command on a machine of that architecture, or on this one with --machine-base --arch=${arch}.`,
  );

/** The image has one layer: files of it, by the name that each gets in the release. */
function takeFromImage(archive: string, files: Readonly<Record<string, string>>): void {
  const work = mkdtempSync(join(tmpdir(), 'release-'));
  try {
    execFileSync('tar', ['-xf', archive, '-C', work]);
    const json = (path: string) => JSON.parse(readFileSync(join(work, path), 'utf8'));
    const blob = (digest: string) => `blobs/sha256/${digest.slice('sha256:'.length)}`;
    const manifest = json(blob((json('index.json') as { manifests: [{ digest: string }] }).manifests[0].digest)) as {
      layers: { digest: string }[];
    };
    const [layer, ...more] = manifest.layers;
    if (layer === undefined || more.length > 0) throw new Error(`${archive}: expected an image of one layer`);
    execFileSync('tar', ['-xzf', join(work, blob(layer.digest)), '-C', work, '--no-same-owner', ...Object.keys(files)]);
    for (const [path, name] of Object.entries(files)) copyFileSync(join(work, path), join(out, name));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** What lies below manifests/, systemd's units included, sorted. */
function manifests(): Entry[] {
  const files = readdirSync('manifests', { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative('.', join(entry.parentPath, entry.name)))
    .sort();
  return files.map((file) => ({ path: `${stem}/${file}`, mode: 0o644, bytes: released(file) }));
}

function released(file: string): Buffer {
  if (file !== 'manifests/base/kustomization.yaml') return readFileSync(file);
  const text = readFileSync(file, 'utf8');
  const filled = text.replace(/newName: \S+\n {4}newTag: \S+\n/, `newName: ${values.image}\n    newTag: ${version}\n`);
  if (!filled.includes(`newName: ${values.image}\n    newTag: ${version}\n`))
    throw new Error(`${file}: expected one image with newName and newTag`);
  return Buffer.from(filled);
}

/** Its own files, and those that no architecture has in its name. */
function isFor(arch: string, name: string): boolean {
  return !name.includes('-linux-') || name.includes(`-linux-${arch}`);
}

function checksums(files: readonly string[]): string {
  const digest = (name: string) =>
    createHash('sha256')
      .update(readFileSync(join(out, name)))
      .digest('hex');
  return files
    .map(
      (name) => `${digest(name)}  ${name}
`,
    )
    .join('');
}
