// A base image for the Dockerfile made of this machine's own Node, libraries and node_modules, where no registry of images can be reached.
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, realpathSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { librariesOf } from './libraries.ts';
import { packageDirectories } from './sbom.ts';

/** The base's files below `root`, for a build of this machine's own architecture. Throws where the machine lacks one; needs busybox-static for a shell. */
export async function fillMachineBase(root: string, busybox: string): Promise<void> {
  const at = (path: string): string => {
    const place = join(root, path);
    mkdirSync(dirname(place), { recursive: true });
    return place;
  };
  const flock = ['/usr/bin/flock', '/bin/flock'].find((path) => existsSync(path));
  if (flock === undefined) throw new Error('no flock(1) on this machine: install util-linux');
  copyFileSync(busybox, at('/bin/busybox'));
  symlinkSync('busybox', at('/bin/sh'));
  mkdirSync(at('/tmp'), { mode: 0o1777 });
  copyFileSync(process.execPath, at('/usr/local/bin/node'));
  copyFileSync(flock, at(flock));
  for (const { path, file } of librariesOf([process.execPath, flock])) copyFileSync(file, at(path));
  // dpkg's database, from which the list of parts is made.
  if (existsSync('/var/lib/dpkg/status')) {
    copyFileSync('/var/lib/dpkg/status', at('/var/lib/dpkg/status'));
    for (const name of readdirSync('/var/lib/dpkg/info'))
      if (/^(libc6|libgcc-s1|libstdc\+\+6|util-linux)(:[a-z0-9]+)?\.list$/.test(name))
        copyFileSync(join('/var/lib/dpkg/info', name), at(`/var/lib/dpkg/info/${name}`));
  }
  for (const directory of await neededPackages()) {
    // Packages may be linked in from elsewhere; below node_modules they have their place.
    const place = `/src/${directory.slice(directory.indexOf('node_modules/'))}`;
    cpSync(realpathSync(directory), at(place), { recursive: true, verbatimSymlinks: true });
  }
}

/** What the build takes: the packages that esbuild reads, esbuild with its program, postject. */
async function neededPackages(): Promise<string[]> {
  const { read } = await packageDirectories();
  return [...read, 'node_modules/esbuild', `node_modules/@esbuild/linux-${process.arch}`, 'node_modules/postject'];
}
