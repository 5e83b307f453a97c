/**
 * What is in the executable and in the image, as CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/): Node, the packages whose code esbuild took into the
 * bundle (not all that are installed), and in an image the Debian packages that its libraries and flock come from.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { build } from 'esbuild';
import { bundleOptions } from './bundle.ts';

export interface BundledPackage {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  /** Its licence text, empty where the package has none. */
  readonly licenseText: string;
  /** SHA-512 of the package as the registry has it, hexadecimal, from package-lock.json. */
  readonly sha512: string | undefined;
}

export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
}

/** Directories of the packages that esbuild reads for the bundle, and of those whose code is in it. */
export async function packageDirectories(): Promise<{ readonly read: string[]; readonly bundled: string[] }> {
  const { metafile } = await build({ ...bundleOptions('0'), entryPoints: ['src/cli.ts'], format: 'cjs', write: false, metafile: true });
  const directories = (files: readonly string[]): string[] => [
    ...new Set(files.flatMap((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0] ?? [])),
  ];
  const contributed = Object.values(metafile.outputs).flatMap(({ inputs }) =>
    Object.entries(inputs).flatMap(([file, { bytesInOutput }]) => (bytesInOutput > 0 ? [file] : [])),
  );
  return { read: directories(Object.keys(metafile.inputs)), bundled: directories(contributed) };
}

/** The packages whose code is in the bundle, sorted by name. */
export async function bundledPackages(): Promise<BundledPackage[]> {
  const { bundled } = await packageDirectories();
  const lock = JSON.parse(await readFile('package-lock.json', 'utf8')) as {
    readonly packages: Readonly<Record<string, { readonly integrity?: string }>>;
  };
  const packages = await Promise.all(
    bundled.map(async (directory): Promise<BundledPackage> => {
      const { name, version, license } = JSON.parse(await readFile(join(directory, 'package.json'), 'utf8')) as Record<string, string>;
      const file = (await readdir(directory)).find((entry) => /^(license|licence|copying)/i.test(entry));
      // A package may be linked in from elsewhere; the lock file knows it by its place below node_modules.
      const locked = lock.packages[directory.slice(directory.indexOf('node_modules/'))];
      const integrity = /^sha512-(.+)$/.exec(locked?.integrity ?? '')?.[1];
      return {
        name: name ?? directory,
        version: version ?? '',
        license: license ?? 'NOASSERTION',
        licenseText: file === undefined ? '' : await readFile(join(directory, file), 'utf8'),
        sha512: integrity === undefined ? undefined : Buffer.from(integrity, 'base64').toString('hex'),
      };
    }),
  );
  return packages.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The Debian package of each file, from dpkg's own database; files that it does not know are left out. */
export function debianPackages(files: readonly string[], database = '/var/lib/dpkg'): DebianPackage[] {
  const wanted = new Set(files.flatMap((file) => [file, file.startsWith('/usr/') ? file.slice(4) : `/usr${file}`]));
  const owners = new Set(
    readdirSync(join(database, 'info'))
      .filter((name) => name.endsWith('.list'))
      .filter((name) =>
        readFileSync(join(database, 'info', name), 'utf8')
          .split('\n')
          .some((line) => wanted.has(line)),
      )
      .map((name) => name.replace(/(:[a-z0-9]+)?\.list$/, '')),
  );
  const field = (stanza: string, name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(stanza)?.[1] ?? '';
  return readFileSync(join(database, 'status'), 'utf8')
    .split('\n\n')
    .filter((stanza) => owners.has(field(stanza, 'Package')))
    .map((stanza) => ({ name: field(stanza, 'Package'), version: field(stanza, 'Version'), architecture: field(stanza, 'Architecture') }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

export interface Bill {
  readonly version: string;
  readonly epoch: number;
  /** Such as 24.21.0. */
  readonly node: string;
  readonly packages: readonly BundledPackage[];
  readonly debian: readonly DebianPackage[];
}

export function cycloneDx({ version, epoch, node, packages, debian }: Bill): string {
  const npm = (name: string, at: string) => `pkg:npm/${name.replace('@', '%40')}@${at}`;
  const component = (type: string, name: string, at: string, purl: string, more: object = {}) => ({
    type,
    'bom-ref': purl,
    name,
    version: at,
    purl,
    ...more,
  });
  const self = npm('pod-checkpointer', version);
  const components = [
    component('platform', 'node', node, `pkg:generic/node@${node}`, {
      licenses: [{ license: { name: 'MIT and others, see its LICENSE' } }],
    }),
    ...packages.map(({ name, version: at, license, sha512 }) =>
      component('library', name, at, npm(name, at), {
        licenses: [/^[\w.+-]+$/.test(license) ? { license: { id: license } } : { expression: license }],
        ...(sha512 !== undefined && { hashes: [{ alg: 'SHA-512', content: sha512 }] }),
      }),
    ),
    ...debian.map(({ name, version: at, architecture }) =>
      component('library', name, at, `pkg:deb/debian/${name}@${encodeURIComponent(at)}?arch=${architecture}`),
    ),
  ];
  const bill = {
    $schema: 'http://cyclonedx.org/schema/bom-1.6.schema.json',
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    version: 1,
    metadata: {
      timestamp: new Date(epoch * 1000).toISOString(),
      component: component('application', 'pod-checkpointer', version, self, { licenses: [{ license: { id: 'Apache-2.0' } }] }),
    },
    components,
    dependencies: [{ ref: self, dependsOn: components.map((one) => one['bom-ref']) }],
  };
  return `${JSON.stringify(bill, null, 2)}\n`;
}

/** The licences of everything in the bundle, as they ask to be passed on. */
export function licenseTexts(packages: readonly BundledPackage[]): string {
  return packages
    .map(({ name, version, license, licenseText }) => `${name} ${version} (${license})\n\n${licenseText.trim()}\n`)
    .join(`\n${'-'.repeat(80)}\n\n`);
}
