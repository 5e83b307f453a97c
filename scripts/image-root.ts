// Puts together what the image holds, below a directory: the executable, flock(1), the libraries of both, the list of parts and their licences. Runs in
// the build stage of the Dockerfile.
//
//     node scripts/image-root.ts <directory> [<system>]
//
// <system>: the root of another architecture's system, as scripts/foreign-system.ts makes it. Without it: the system that this runs on.
import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { readVersion, sourceDateEpoch } from './bundle.ts';
import { architectureOf } from './elf.ts';
import { librariesOf } from './libraries.ts';
import { bundledPackages, cycloneDx, debianPackages, licenseTexts } from './sbom.ts';

const [root, system = '/'] = process.argv.slice(2);
if (root === undefined) throw new Error('expected the directory to fill');
const at = (path: string): string => {
  const place = join(root, path);
  mkdirSync(dirname(place), { recursive: true });
  return place;
};

const node = system === '/' ? process.execPath : join(system, 'usr/local/bin/node');
const arch = architectureOf(readFileSync(node));
execFileSync(process.execPath, ['scripts/executable.ts', `--arch=${arch}`, `--node=${node}`, `--out=${root}`], { stdio: 'inherit' });
renameSync(join(root, `checkpointer-linux-${arch}`), at('/checkpointer'));

const flock = ['/usr/bin/flock', '/bin/flock'].find((path) => existsSync(join(system, path)));
if (flock === undefined) throw new Error(`no flock(1) below ${system}; on Debian it is in util-linux`);
copyFileSync(join(system, flock), at('/bin/flock'));

const libraries = librariesOf([node, join(system, flock)], system);
for (const { path, file } of libraries) copyFileSync(file, at(path));

// The names of API servers: the kubelet's hosts file first, then DNS.
writeFileSync(at('/etc/nsswitch.conf'), 'hosts: files dns\n');
const packages = await bundledPackages();
const debian = debianPackages([flock, ...libraries.map(({ path }) => path)], join(system, 'var/lib/dpkg'));
writeFileSync(
  at('/usr/share/pod-checkpointer/sbom.cdx.json'),
  cycloneDx({ version: await readVersion(), epoch: sourceDateEpoch(), node: process.versions.node, packages, debian }),
);
writeFileSync(at('/usr/share/pod-checkpointer/third-party-licenses.txt'), licenseTexts(packages));
// Where Node's own distribution has it; its npm package leaves it out.
const nodeLicense = join(dirname(node), '../LICENSE');
if (existsSync(nodeLicense)) copyFileSync(nodeLicense, at('/usr/share/pod-checkpointer/node-license.txt'));
copyFileSync('LICENSE', at('/usr/share/pod-checkpointer/LICENSE'));
