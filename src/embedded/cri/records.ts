/**
 * What the embedded runtime remembers, on disk:
 *
 *   <state dir>/sandboxes/<id>.json      a SandboxRecord
 *   <state dir>/containers/<id>.json     a ContainerRecord
 *   <state dir>/containers/<id>.exit     exit code, decimal, written by the container's shim
 *   <state dir>/images/<hash>            reference of an image that was pulled
 *
 * Records outlive the runtime and a power cut, as containerd's do: what ran then is found NotReady or exited. Replaced by rename, so that a reader
 * sees the old or the new one.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ProcessRef } from '../node/processes.ts';
import type { PathMount } from './mounts.ts';

/** Times are milliseconds since the epoch, 0 where not reached. */
export interface SandboxRecord {
  readonly id: string;
  readonly metadata: { readonly name: string; readonly uid: string; readonly namespace: string; readonly attempt: number };
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly logDirectory: string;
  readonly hostNetwork: boolean;
  readonly createdAt: number;
  /** The process that stands for the sandbox; the sandbox is READY while it lives and was not stopped. */
  readonly process: ProcessRef;
  readonly stopped: boolean;
}

export type ContainerPhase =
  | { readonly state: 'created' }
  | { readonly state: 'running'; readonly process: ProcessRef; readonly startedAt: number }
  | {
      readonly state: 'exited';
      readonly startedAt: number;
      readonly finishedAt: number;
      readonly exitCode: number;
      readonly reason: string;
      readonly message: string;
    };

export interface ContainerRecord {
  readonly id: string;
  readonly sandboxId: string;
  readonly metadata: { readonly name: string; readonly attempt: number };
  readonly image: string;
  readonly commandLine: readonly string[];
  readonly env: readonly { readonly key: string; readonly value: string }[];
  readonly workingDir: string;
  readonly mounts: readonly (PathMount & { readonly readonly: boolean })[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  /** Absolute, or empty where the kubelet wants no log. */
  readonly logPath: string;
  readonly createdAt: number;
  readonly phase: ContainerPhase;
}

export interface Records {
  readonly sandboxes: Map<string, SandboxRecord>;
  readonly containers: Map<string, ContainerRecord>;
  save(record: SandboxRecord | ContainerRecord): void;
  remove(record: SandboxRecord | ContainerRecord): void;
  exitFile(containerId: string): string;
  mountinfoFile(containerId: string): string;
  /** Undefined when the shim did not live to write it: it was killed. */
  exitCode(containerId: string): number | undefined;
  isPulled(reference: string): boolean;
  setPulled(reference: string, pulled: boolean): void;
}

export function openRecords(stateDir: string): Records {
  const directories = {
    sandboxes: join(stateDir, 'sandboxes'),
    containers: join(stateDir, 'containers'),
    images: join(stateDir, 'images'),
  };
  for (const directory of Object.values(directories)) mkdirSync(directory, { recursive: true });
  const sandboxes = readAll<SandboxRecord>(directories.sandboxes);
  const containers = readAll<ContainerRecord>(directories.containers);
  const fileOf = (record: SandboxRecord | ContainerRecord) =>
    join('sandboxId' in record ? directories.containers : directories.sandboxes, `${record.id}.json`);
  const exitFile = (id: string) => join(directories.containers, `${id}.exit`);
  const mountinfoFile = (id: string) => join(directories.containers, `${id}.mountinfo`);
  const imageFile = (reference: string) => join(directories.images, createHash('sha256').update(reference).digest('hex'));
  return {
    sandboxes,
    containers,
    save: (record) => {
      if ('sandboxId' in record) containers.set(record.id, record);
      else sandboxes.set(record.id, record);
      const file = fileOf(record);
      writeFileSync(`${file}.tmp`, JSON.stringify(record));
      renameSync(`${file}.tmp`, file);
    },
    remove: (record) => {
      if ('sandboxId' in record) containers.delete(record.id);
      else sandboxes.delete(record.id);
      rmSync(fileOf(record), { force: true });
      if ('sandboxId' in record) for (const file of [exitFile, mountinfoFile]) rmSync(file(record.id), { force: true });
    },
    exitFile,
    mountinfoFile,
    exitCode: (id) => {
      if (!existsSync(exitFile(id))) return undefined;
      const code = Number.parseInt(readFileSync(exitFile(id), 'utf8'), 10);
      return Number.isNaN(code) ? undefined : code;
    },
    isPulled: (reference) => existsSync(imageFile(reference)),
    setPulled: (reference, pulled) => {
      if (pulled) writeFileSync(imageFile(reference), reference);
      else rmSync(imageFile(reference), { force: true });
    },
  };
}

function readAll<T extends { readonly id: string }>(directory: string): Map<string, T> {
  const records = new Map<string, T>();
  for (const name of readdirSync(directory).filter((name) => name.endsWith('.json'))) {
    const record: T = JSON.parse(readFileSync(join(directory, name), 'utf8'));
    records.set(record.id, record);
  }
  return records;
}
