/** What a pivot writes down, on a real disk. */
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { COMPONENTS } from '../../src/pivot/component.ts';
import {
  type Journal,
  journalPath,
  pivotDir,
  preparePivotDir,
  readBase,
  readJournal,
  readOriginal,
  writeBase,
  writeJournal,
  writeSnapshot,
} from '../../src/pivot/journal.ts';
import { alone } from '../../src/pivot/session.ts';

const START = '2026-11-21T15-41-04-000Z';
const JOURNAL: Journal = {
  node: 'master-1',
  start: START,
  target: 'self-hosted',
  place: { state: 'between', step: 3 },
  manifests: COMPONENTS.map((component) => ({ component, file: `/etc/kubernetes/manifests/${component}.yaml`, mode: 0o600 })),
  credentials: 'files',
};

let store: string;
beforeEach(async () => {
  store = await mkdtemp(join(tmpdir(), 'pivot-'));
  await preparePivotDir(store);
});
afterEach(() => rm(store, { recursive: true, force: true }));

describe("a pivot's journal", () => {
  it('is read as it was written', async () => {
    expect(await readJournal(store)).toBeUndefined();
    await writeJournal(store, JOURNAL);
    expect(await readJournal(store)).toEqual(JOURNAL);
    expect(await readdir(pivotDir(store))).toEqual(['journal.json']);
  });

  it.each([
    ['not JSON', '{', 'is not JSON'],
    ['of another version', JSON.stringify({ ...JOURNAL, version: 2 }), 'has version 2, expected 1'],
    ['without a place', JSON.stringify({ ...JOURNAL, version: 1, place: undefined }), "is not a pivot's journal"],
    [
      'at a step that there is not',
      JSON.stringify({ ...JOURNAL, version: 1, place: { state: 'between', step: 12 } }),
      "is not a pivot's journal",
    ],
    ['without a manifest', JSON.stringify({ ...JOURNAL, version: 1, manifests: [] }), "is not a pivot's journal"],
    ['that leads out of its directory', JSON.stringify({ ...JOURNAL, version: 1, start: '../..' }), "is not a pivot's journal"],
  ])('that is %s is refused by the name of its file', async (_what, text, message) => {
    await writeFile(journalPath(store), text);
    await expect(readJournal(store)).rejects.toThrow(`${journalPath(store)} ${message}`);
  });
});

describe("a pivot's snapshot", () => {
  const originals = new Map(COMPONENTS.map((component) => [component, Buffer.from(`# ${component}\n`)] as const));

  it('keeps the manifests byte for byte, for root alone', async () => {
    await writeSnapshot(store, START, originals, { node: { kind: 'Node' }, daemonSets: {} });
    for (const component of COMPONENTS) expect(await readOriginal(store, START, component)).toEqual(originals.get(component));
    const path = join(pivotDir(store), START);
    expect((await stat(path)).mode & 0o777).toBe(0o700);
    expect(JSON.parse(await readFile(join(path, 'node.json'), 'utf8'))).toEqual({ kind: 'Node' });
  });

  it('is never overwritten', async () => {
    await writeSnapshot(store, START, originals, { node: {}, daemonSets: {} });
    await expect(writeSnapshot(store, START, originals, { node: {}, daemonSets: {} })).rejects.toThrow('EEXIST');
  });

  it('is what is put back, unless there is something newer', async () => {
    await writeSnapshot(store, START, originals, { node: {}, daemonSets: {} });
    expect((await readBase(store, START, 'kube-scheduler')).toString()).toBe('# kube-scheduler\n');
    await writeBase(store, START, 'kube-scheduler', Buffer.from('newer\n'));
    expect((await readBase(store, START, 'kube-scheduler')).toString()).toBe('newer\n');
    expect((await readOriginal(store, START, 'kube-scheduler')).toString()).toBe('# kube-scheduler\n');
  });

  it('that lost a manifest says which, and where to get it', async () => {
    await expect(readOriginal(store, START, 'kube-scheduler')).rejects.toThrow(
      /original\/kube-scheduler\.yaml is missing.*kubeadm init phase control-plane/,
    );
  });
});

describe('two pivots of one node', () => {
  it('do not run at once', async () => {
    await alone(store, async () => {
      await expect(alone(store, async () => undefined)).rejects.toThrow('another checkpointer pivot or unpivot runs on this node');
    });
    await alone(store, async () => undefined);
  });
});
