// What an image of another architecture takes from its system, fetched and unpacked without running any of it: Node from npm's registry, flock and the C
// libraries from the packages of this machine's Debian.
import { execFileSync, spawnSync } from 'node:child_process';
import { appendFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PACKAGES = ['libc6', 'libgcc-s1', 'libstdc++6', 'util-linux'];

/** As Debian and OCI call it. */
export type Architecture = 'amd64' | 'arm64';

/**
 * Fills `root`: Node at /usr/local/bin/node with its LICENSE, the packages' files, and dpkg's database of them.
 * Throws where npm's registry or Debian's packages of that architecture cannot be had.
 */
export function fetchForeignSystem(root: string, arch: Architecture): void {
  const work = mkdtempSync(join(tmpdir(), 'foreign-system-'));
  try {
    mkdirSync(join(root, 'usr/local/bin'), { recursive: true });
    const name = `node-linux-${arch === 'amd64' ? 'x64' : arch}@${process.versions.node}`;
    run(work, 'npm', 'pack', '--silent', name);
    const archive = onlyFile(work, '.tgz');
    run(work, 'tar', '-xzf', archive, '--no-same-owner', 'package/bin/node', 'package/LICENSE');
    cpSync(join(work, 'package/bin/node'), join(root, 'usr/local/bin/node'));
    cpSync(join(work, 'package/LICENSE'), join(root, 'usr/local/LICENSE'));
    for (const file of fetchPackages(work, arch)) unpack(file, root);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/**
 * apt with lists and a status of its own for the architecture, so that dpkg's list of architectures stays as it is. Sources, keys and proxies are the machine's.
 */
function fetchPackages(work: string, arch: string): string[] {
  const state = join(work, 'apt');
  mkdirSync(join(state, 'lists/partial'), { recursive: true });
  mkdirSync(join(state, 'archives/partial'), { recursive: true });
  writeFileSync(join(state, 'status'), '');
  const options = {
    'APT::Architecture': arch,
    'APT::Architectures': arch,
    'APT::Sandbox::User': 'root',
    'Acquire::Languages': 'none',
    'Acquire::Retries': '3',
    'Dir::State': state,
    'Dir::State::status': join(state, 'status'),
    'Dir::Cache': state,
  };
  const apt = ['-q', '-q', ...Object.entries(options).map(([name, value]) => `--option=${name}=${value}`)];
  run(work, 'apt-get', ...apt, 'update');
  try {
    run(work, 'apt-get', ...apt, 'download', ...PACKAGES);
  } catch (error) {
    throw new Error(
      `${PACKAGES.join(' ')} of ${arch}: expected in the package sources of this machine (apt); Debian's have them, Ubuntu's do not`,
      {
        cause: error,
      },
    );
  }
  return PACKAGES.map((name) => join(work, onlyFile(work, `_${arch}.deb`, `${name}_`)));
}

/** Its files, and what dpkg would write down of it. */
function unpack(file: string, root: string): void {
  const info = join(root, 'var/lib/dpkg/info');
  mkdirSync(info, { recursive: true });
  const control = execFileSync('dpkg-deb', ['--field', file], { encoding: 'utf8' });
  const name = /^Package: (\S+)$/m.exec(control)?.[1] ?? '';
  const paths = execFileSync('dpkg-deb', ['--vextract', file, root], { encoding: 'utf8', maxBuffer: 16 << 20 });
  // Printed as ./usr/bin/flock.
  writeFileSync(join(info, `${name}.list`), paths.replaceAll(/^\./gm, ''));
  appendFileSync(join(root, 'var/lib/dpkg/status'), `${control.trimEnd()}\n\n`);
}

function onlyFile(directory: string, end: string, beginning = ''): string {
  const names = readdirSync(directory).filter((name) => name.startsWith(beginning) && name.endsWith(end));
  const [name, ...more] = names;
  if (name === undefined || more.length > 0) throw new Error(`${directory}: expected one file ${beginning}*${end}, found ${names.length}`);
  return name;
}

function run(directory: string, program: string, ...args: readonly string[]): void {
  const { status, signal, error } = spawnSync(program, args, { cwd: directory, stdio: ['ignore', 2, 2] });
  if (error !== undefined) throw new Error(`${program}: ${error.message}`);
  if (status !== 0) throw new Error(`${program} ${args.filter((arg) => !arg.startsWith('-')).join(' ')} ended with ${status ?? signal}`);
}
