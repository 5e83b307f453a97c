/** `checkpointer version`: which build this is, and what it carries and writes. */
import { isSea } from 'node:sea';
import { Command } from 'commander';
import { FORMAT } from '../checkpoint/store/format.ts';
import { VERSION } from '../version.ts';
import { flag } from './options.ts';
import { table } from './table.ts';

/** Filled in by the build, where it knows: the commit that was built. */
declare const __REVISION__: string | undefined;
/** RFC 3339: SOURCE_DATE_EPOCH, or the date of that commit; not when the build ran, so that the same source gives the same bytes. */
declare const __BUILD_DATE__: string | undefined;

export interface BuildData {
  readonly version: string;
  /** The commit; `unknown` where the build was not told. */
  readonly revision: string;
  /** RFC 3339, of the commit; `unknown` where the build was not told. */
  readonly buildDate: string;
  /** How it is packed: one file with its own Node, a bundle for a Node that is there, or the sources. */
  readonly packed: 'executable' | 'bundle' | 'sources';
  readonly node: string;
  readonly v8: string;
  readonly openssl: string;
  /** As OCI images call it. */
  readonly platform: string;
  /** Of the store: what it writes. */
  readonly storeFormat: number;
}

export function buildData(): BuildData {
  const { node, v8, openssl } = process.versions;
  return {
    version: VERSION,
    revision: typeof __REVISION__ === 'string' ? __REVISION__ : 'unknown',
    buildDate: typeof __BUILD_DATE__ === 'string' ? __BUILD_DATE__ : 'unknown',
    packed: isSea() ? 'executable' : VERSION === 'dev' ? 'sources' : 'bundle',
    node,
    v8,
    openssl,
    platform: `${process.platform}/${process.arch === 'x64' ? 'amd64' : process.arch}`,
    storeFormat: FORMAT,
  };
}

export function versionCommand(): Command {
  return new Command('version')
    .description('Print the version and what this build is made of.')
    .addOption(flag('-o, --output <format>', 'how to print it').choices(['table', 'json']).default('table'))
    .addHelpText('after', '\nExamples:\n  checkpointer version\n  checkpointer version -o json | jq -r .revision')
    .action(({ output }: { readonly output: 'table' | 'json' }) => {
      const data = buildData();
      const rows = Object.entries(data).map(([name, value]) => [name, String(value)]);
      process.stdout.write(output === 'json' ? `${JSON.stringify(data, undefined, 2)}\n` : table(['BUILD', ''], rows));
    });
}
