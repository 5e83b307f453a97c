// Puts together what the image holds, below a directory: the executable, flock(1), the libraries of both, the list of parts and their licences. Runs in
// the build stage of the Dockerfile.
//
//     node scripts/image-root.ts <directory>
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { readVersion, sourceDateEpoch } from './bundle.ts';
import { librariesOf } from './libraries.ts';
import { bundledPackages, cycloneDx, debianPackages, licenseTexts } from './sbom.ts';

const root = process.argv[2];
if (root === undefined) throw new Error('expected the directory to fill');
const at = (path: string): string => {
  const place = join(root, path);
  mkdirSync(dirname(place), { recursive: true });
  return place;
};

execFileSync(process.execPath, ['scripts/executable.ts', `--out=${root}`], { stdio: 'inherit' });
renameSync(join(root, `checkpointer-linux-${process.arch}`), at('/checkpointer'));

const flock = ['/usr/bin/flock', '/bin/flock'].find((path) => existsSync(path));
if (flock === undefined) throw new Error('no flock(1) in the base image; on Debian it is in util-linux');
copyFileSync(flock, at('/bin/flock'));

const libraries = [...new Set([...librariesOf(process.execPath), ...librariesOf(flock)])].sort();
for (const library of libraries) copyFileSync(library, at(library));

// The names of API servers: the kubelet's hosts file first, then DNS.
writeFileSync(at('/etc/nsswitch.conf'), 'hosts: files dns\n');
const packages = await bundledPackages();
const debian = debianPackages([flock, ...libraries]);
writeFileSync(
  at('/usr/share/pod-checkpointer/sbom.cdx.json'),
  cycloneDx({ version: await readVersion(), epoch: sourceDateEpoch(), node: process.versions.node, packages, debian }),
);
writeFileSync(at('/usr/share/pod-checkpointer/third-party-licenses.txt'), licenseTexts(packages));
// Where Node's own distribution has it; its npm package leaves it out.
const nodeLicense = join(dirname(process.execPath), '../LICENSE');
if (existsSync(nodeLicense)) copyFileSync(nodeLicense, at('/usr/share/pod-checkpointer/node-license.txt'));
copyFileSync('LICENSE', at('/usr/share/pod-checkpointer/LICENSE'));
