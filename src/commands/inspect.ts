/** `checkpointer inspect`: what lies on this node's disk and what the daemon last said of it. Reads only; needs neither API server nor daemon. */
import { stat } from 'node:fs/promises';
import { Command } from 'commander';
import type { CopyToken } from '../checkpoint/copy-types.ts';
import type { GenerationNumber, StoredWorkload } from '../checkpoint/model.ts';
import { readStore, type StoreSnapshot } from '../checkpoint/store/read.ts';
import { workloadKey } from '../checkpoint/workload.ts';
import { type FoundManifest, listManifests } from '../recovery/manifests.ts';
import { type Leader, readLeader, readStatus, type Status } from '../status.ts';
import { InputError } from './input-error.ts';
import { addStoreFlags, flag } from './options.ts';
import { age, table } from './table.ts';

interface InspectOptions {
  readonly checkpointDir: string;
  readonly podManifestPath: string;
  readonly output: 'table' | 'json';
}

export function inspectCommand(): Command {
  return addStoreFlags(new Command('inspect'))
    .description('Show the copies on this node and their state, from disk alone.')
    .addOption(flag('-o, --output <format>', 'how to print it').choices(['table', 'json']).default('table'))
    .addHelpText('after', '\nExamples:\n  checkpointer inspect\n  checkpointer inspect -o json | jq .workloads')
    .action(async (options: InspectOptions) => {
      process.stdout.write(await inspect(options, Date.now()));
    });
}

async function inspect({ checkpointDir, podManifestPath, output }: InspectOptions, now: number): Promise<string> {
  for (const [name, path] of [
    ['--checkpoint-dir', checkpointDir],
    ['--pod-manifest-path', podManifestPath],
  ] as const) {
    const found = await stat(path).catch(() => undefined);
    if (found?.isDirectory() !== true)
      throw new InputError(`${name} ${path}: there is no such directory; give the one that the daemon uses`);
  }
  const [store, manifests, status, leader] = await Promise.all([
    readStore(checkpointDir),
    listManifests(podManifestPath),
    readStatus(checkpointDir),
    readLeader(checkpointDir),
  ]);
  const report = inspection(store, manifests, status, leader);
  return output === 'json' ? `${JSON.stringify(report, undefined, 2)}\n` : asTable(report, now);
}

interface WorkloadInspection {
  readonly workload: string;
  readonly namespace: string;
  readonly kind: string;
  readonly name: string;
  readonly reason: string;
  readonly message: string;
  readonly since?: string;
  readonly parent?: string;
  readonly proven?: GenerationNumber;
  readonly newest?: GenerationNumber;
  /** Service account tokens of the generation that a reboot gets. Past `expiresAt`, or without the pod that they are bound to, they are worth nothing. */
  readonly tokens: readonly CopyToken[];
  readonly damaged: readonly { readonly generation: GenerationNumber; readonly detail: string }[];
  readonly active: readonly { readonly generation: GenerationNumber; readonly activation: number; readonly file: string }[];
}

export interface Inspection {
  /** Of this document. Fields are added within a version, never changed or removed. */
  readonly version: 1;
  readonly node: {
    readonly api?: string;
    readonly runtime?: string;
    readonly disk?: string;
    readonly bootId?: string;
    readonly leader?: Leader;
  };
  readonly workloads: readonly WorkloadInspection[];
}

export function inspection(
  store: StoreSnapshot,
  manifests: readonly FoundManifest[],
  status: Status | undefined,
  leader: Leader | undefined,
): Inspection {
  const stored = new Map([...store.workloads].map(([key, { workload, stored }]) => [key as string, { ...workload, stored }]));
  const keys = [...new Set([...stored.keys(), ...Object.keys(status?.workloads ?? {})])].sort();
  return {
    version: 1,
    node: {
      ...(status === undefined ? {} : { api: status.api, runtime: status.runtime, disk: status.disk, bootId: status.bootId }),
      ...(leader === undefined ? {} : { leader }),
    },
    workloads: keys.flatMap((key) => {
      const last = status?.workloads[key];
      const found = stored.get(key);
      const identity = found ?? last;
      if (identity === undefined) return [];
      const generation = found?.stored.newest === undefined ? undefined : found.stored.generations.get(found.stored.newest);
      const parent = last?.parent ?? generation?.parent.name;
      return [
        {
          workload: key,
          namespace: identity.namespace,
          kind: identity.kind,
          name: identity.name,
          reason: last?.reason ?? 'Unknown',
          message: last?.message ?? 'no daemon has said anything about this workload',
          ...(last === undefined ? {} : { since: last.since }),
          ...(parent === undefined ? {} : { parent }),
          ...(found?.stored.proven === undefined ? {} : { proven: found.stored.proven }),
          ...(found?.stored.newest === undefined ? {} : { newest: found.stored.newest }),
          tokens: tokensOf(found?.stored),
          damaged: [...(found?.stored.damaged ?? [])].map(([number, detail]) => ({ generation: number, detail })),
          active: manifests
            .filter((manifest) => manifest.workload === key && (found === undefined || workloadKey(found) === key))
            .map(({ generation: number, activation, file }) => ({ generation: number, activation, file })),
        },
      ];
    }),
  };
}

function asTable({ node, workloads }: Inspection, now: number): string {
  const leader =
    node.leader === undefined ? 'none recorded' : `${node.leader.where} (pid ${node.leader.pid}) for ${age(node.leader.since, now)}`;
  const head = `Last leader  ${leader}\nAPI server   ${node.api ?? 'unknown'}, as the leader last saw it\nRuntime      ${node.runtime ?? 'unknown'}, as the leader last saw it\n\n`;
  if (workloads.length === 0) return `${head}No copies. Mark a pod with the annotation checkpointer.alpha.coreos.com/checkpoint: "true".\n`;
  const rows = workloads.map((workload) => [
    workload.workload,
    workload.reason,
    workload.since === undefined ? '-' : age(workload.since, now),
    numbered(workload.proven),
    numbered(workload.newest),
    workload.active.map(({ generation, activation }) => `g${generation}-a${activation}`).join(',') || '-',
    workload.parent ?? '-',
    workload.message + tokenNote(workload.tokens, now),
  ]);
  return head + table(['WORKLOAD', 'REASON', 'FOR', 'PROVEN', 'NEWEST', 'ACTIVE', 'PARENT', 'MESSAGE'], rows);
}

/** Of the generation that a reboot gets: the proven one, or the newest while none is. */
function tokensOf(stored: StoredWorkload | undefined): readonly CopyToken[] {
  const number = stored?.proven ?? stored?.newest;
  return (number === undefined ? undefined : stored?.generations.get(number)?.instance?.tokens) ?? [];
}

function tokenNote(tokens: readonly CopyToken[], now: number): string {
  const [first] = tokens.map(({ expiresAt }) => Date.parse(expiresAt)).sort((a, b) => a - b);
  if (first === undefined) return '';
  return first <= now ? '; its token has ended' : `; its token ends in ${age(new Date(now).toISOString(), first)}`;
}

function numbered(generation: GenerationNumber | undefined): string {
  return generation === undefined ? '-' : `g${generation}`;
}
