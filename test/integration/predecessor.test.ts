import { lstat, mkdir, readdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { V1Pod } from '@kubernetes/client-node';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { act, type Effects } from '../../src/act.ts';
import { loadGeneration } from '../../src/checkpoint/store/load.ts';
import { workloadPath } from '../../src/checkpoint/store/paths.ts';
import { readStore } from '../../src/checkpoint/store/read.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import type { Inspection } from '../../src/inspect/report.ts';
import { readRegular } from '../../src/platform/durable.ts';
import { readPredecessor } from '../../src/predecessor/read.ts';
import { planRecovery, recover } from '../../src/recovery/boot.ts';
import { createDiskSource, type DiskSource } from '../../src/sources/disk.ts';
import { type Bootkube, bootkubePod, leave } from '../support/bootkube.ts';
import { checkpointer, type Host, testHost, workloadNamed } from '../support/host/host.ts';
import { checkpointerWith, missingForMounts } from '../support/host/namespace.ts';
import { container, markedPod } from '../support/marked-pods.ts';
import { skipLoudly } from '../support/skip.ts';

let host: Host;
let bootkube: Bootkube;
let disk: DiskSource;

beforeEach(async () => {
  host = await testHost();
  bootkube = { base: host.dir, manifests: host.manifests };
  disk = createDiskSource(host.store, host.manifests);
});
afterEach(() => host[Symbol.asyncDispose]());

const SCHEDULER = workloadNamed('kube-scheduler');
const NAME = 'kube-scheduler-fd55v';
const FILE = `kube-system-${NAME}.json`;

function pod(name = NAME, image = 'registry.example.org/kube-scheduler:1'): V1Pod {
  return markedPod(
    {
      hostNetwork: true,
      containers: [container({ name: 'kube-scheduler', image, volumeMounts: [{ name: 'secrets', mountPath: '/secrets' }] })],
      volumes: [{ name: 'secrets', secret: { secretName: 'kube-scheduler' } }],
    },
    { name, uid: `uid-${name}`, labels: { 'controller-revision-hash': '6fc54f5f97', 'k8s-app': 'kube-scheduler' } },
  );
}
const SECRETS = { 'kube-scheduler': { kubeconfig: 'the kubeconfig' } };

async function predecessor() {
  const read = await disk.read();
  if (read.state !== 'ok' || read.predecessor?.state !== 'ok') throw new Error(JSON.stringify(read));
  return read.predecessor;
}

const unreachable = { state: 'unreachable', detail: 'refused' } as const;
const seen = { bootId: 'boot-2', api: unreachable, runtime: { state: 'ok', sandboxes: [] }, byHand: false } as const;
const place = () => ({ checkpointDir: host.store, podManifestPath: host.manifests, disk, wallClock: Date.now });

function effects(): Effects {
  const no = () => Promise.reject(new Error('not here'));
  return {
    checkpointDir: host.store,
    podManifestPath: host.manifests,
    wallClock: Date.now,
    stopGraceSeconds: 0,
    transaction: (change) => change(),
    api: { confirmAbsence: no },
    runtime: { stopContainer: no, stopSandbox: no, removeContainer: no },
  };
}
const clear = (name = NAME, more: { active?: string; whole?: boolean } = {}) =>
  act(
    { kind: 'clearPredecessor', workload: SCHEDULER, pod: { namespace: 'kube-system', name }, active: undefined, whole: true, ...more },
    effects(),
  );

/** Every path below a directory. */
const tree = async (directory: string): Promise<string[]> => (await readdir(directory, { recursive: true }).catch(() => [])).sort();

describe('on a node without it', () => {
  it('nothing is found, and nothing of its is looked for in the files of others', async () => {
    await writeFile(
      join(host.manifests, 'kube-vip.json'),
      JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'kube-vip' } }),
    );
    await writeFile(join(host.manifests, 'etcd.yaml'), 'kind: Pod\n');
    const read = await disk.read();
    expect(read.state === 'ok' && read.predecessor).toBeUndefined();
  });

  it("a directory of a person's own with the name of one of its is none of its, empty or not", async () => {
    await mkdir(join(host.dir, 'inactive-manifests'), { mode: 0o755 });
    expect(await disk.read()).not.toHaveProperty('predecessor');
    await writeFile(join(host.dir, 'inactive-manifests', 'old.yaml'), 'kind: Pod\n');
    expect(await disk.read()).not.toHaveProperty('predecessor');
  });
});

describe('a power cut in the midst of a migration, when nothing of ours is stored', () => {
  it('ends with its checkpoint adopted, proven and active', async () => {
    await leave(bootkube, pod(), { secrets: SECRETS });
    const { done, failed } = await recover(seen, place());
    expect(done.map(({ kind }) => kind)).toEqual(['adopt', 'activate']);
    expect(failed.size).toBe(0);
    const { workloads } = await readStore(host.store);
    expect(workloads.get(workloadKey(SCHEDULER))?.stored).toMatchObject({ newest: 1, proven: 1 });
    const stored = await loadGeneration(host.store, SCHEDULER, 1);
    expect(JSON.stringify(stored.pod)).not.toContain('checkpoint-secrets');
    const manifest = JSON.parse(await readFile(join(host.manifests, 'pod-checkpointer.kube-system.kube-scheduler-ds-g1-a1.json'), 'utf8'));
    const path = manifest.spec.volumes[0].hostPath.path;
    expect(await readFile(join(path, 'kubeconfig'), 'utf8')).toBe('the kubeconfig');
    // What it was made of stays: nobody but the API server can say that it is not needed any more.
    expect(await readdir(join(host.dir, 'inactive-manifests'))).toEqual([FILE]);
  });

  it('can be ended by recover where nothing of ours has ever been; a dry run makes no store', async () => {
    await rm(host.store, { recursive: true });
    const boot = () => checkpointer('recover', '--boot', '--probe-timeout=0s', ...host.flags());
    expect((await boot()).out).toContain('no store, nothing to recover');
    await leave(bootkube, pod(), { secrets: SECRETS });
    const dry = await checkpointer('recover', '--boot', '--dry-run', '--probe-timeout=0s', ...host.flags());
    expect({ code: dry.code, out: dry.out }).toEqual({ code: 0, out: expect.stringContaining("bootkube's pod-checkpointer has kept it") });
    await expect(lstat(host.store)).rejects.toThrow('ENOENT');
    // As the kubelet makes it for a pod that waits for the lock.
    await mkdir(host.store, { mode: 0o755 });
    const { code, out } = await boot();
    expect({ code, out }).toEqual({ code: 0, out: expect.stringContaining("take over bootkube's checkpoint kube-scheduler-fd55v") });
    expect(await host.active()).toEqual(['pod-checkpointer.kube-system.kube-scheduler-ds-g1-a1.json']);
  });

  it('ends with the copy of ours that is not proven where what it left cannot be taken over', async () => {
    await host.save('kube-scheduler', 'registry.example.org/kube-scheduler:2');
    for (const pointer of ['proven', 'previous']) await rm(join(workloadPath(host.store, SCHEDULER), pointer), { force: true });
    await leave(bootkube, pod(), { secrets: SECRETS });
    // Saving looks into it, activating does not.
    await rm(join(host.store, 'quarantine'), { recursive: true });
    await writeFile(join(host.store, 'quarantine'), '');
    const { done, failed, warnings } = await recover(seen, place());
    expect(done).toMatchObject([{ kind: 'activate', generation: 1 }]);
    expect(failed.size).toBe(0);
    expect(warnings.join()).toContain(`checkpoint ${NAME} could not be taken over`);
  });

  it('leaves its active copy where it is, and starts nothing beside it', async () => {
    await leave(bootkube, pod(), { secrets: SECRETS, active: true });
    const { done } = await recover(seen, place());
    expect(done.map(({ kind }) => kind)).toEqual(['adopt']);
    expect(await host.active()).toEqual([FILE]);
  });

  it('does not choose what it left where a copy of ours is proven', async () => {
    await host.save('kube-scheduler', 'registry.example.org/kube-scheduler:2');
    await leave(bootkube, pod(), { secrets: SECRETS });
    const { done } = await recover(seen, place());
    expect(done).toMatchObject([{ kind: 'activate', generation: 1 }]);
    expect((await readStore(host.store)).workloads.get(workloadKey(SCHEDULER))?.stored.generations.size).toBe(1);
  });

  it('starts nothing that it has no Secret for', async () => {
    await leave(bootkube, pod());
    expect(planRecovery({ ...seen, disk: await disk.read() }).actions).toEqual([]);
  });

  it('starts nothing of which a file is no file, and the rest all the same', async () => {
    await leave(bootkube, pod(), { secrets: SECRETS });
    const other = pod('kube-proxy-m8c5v');
    await leave(bootkube, other, { secrets: SECRETS });
    await symlink('/etc/passwd', join(host.dir, 'checkpoint-secrets/kube-system/kube-proxy-m8c5v/kube-scheduler/link'));
    const { actions } = planRecovery({ ...seen, disk: await disk.read() });
    expect(actions.map(({ kind, workload }) => `${kind} ${workload.name}`)).toEqual(['adopt kube-scheduler']);
  });

  it('recover --boot leaves it to the daemons where its own copy of itself starts with the kubelet', async () => {
    await host.save('kube-scheduler');
    const itself = bootkubePod('pod-checkpointer-8wxtg', 'uid-itself');
    const file = await leave(bootkube, itself, { secrets: { 'checkpointer-kubeconfig': { kubeconfig: 'k' } }, active: true });
    const { code, out } = await checkpointer('recover', '--boot', '--probe-timeout=0s', ...host.flags());
    expect({ code, out }).toEqual({ code: 0, out: expect.stringContaining(file) });
    expect(await host.active()).toEqual([file]);
    await rm(join(host.manifests, file));
    expect((await checkpointer('recover', '--boot', '--probe-timeout=0s', ...host.flags())).out).toContain('activate g1-a1');
  });
});

describe.skipIf(skipLoudly('directories that are mounted read-only', missingForMounts()))(
  'where its directories are mounted read-only',
  () => {
    it('what nobody is known to want is not adopted, because it could not go afterwards; inspect says how it can', async () => {
      const base = join(host.dir, 'kubernetes');
      const manifests = join(base, 'manifests');
      await mkdir(manifests, { recursive: true });
      await leave({ base, manifests }, pod(), { secrets: SECRETS });
      // Last one wins.
      const flags = [...host.flags(), `--pod-manifest-path=${manifests}`];
      // The store and the static pods can be written to, and nothing else.
      const mounts = 'mount --bind "$1" "$1"; mount --bind "$2" "$2"; mount -o remount,bind,ro "$1"';
      const boot = await checkpointerWith(mounts, [base, manifests], ['recover', '--boot', '--probe-timeout=0s', ...flags]);
      expect({ code: boot.code, active: await readdir(manifests) }).toEqual({ code: 0, active: [] });
      const seen = await checkpointerWith(mounts, [base, manifests], ['inspect', '--probe-timeout=0s', '-o', 'json', ...flags]);
      const { node } = JSON.parse(seen.out) as Inspection;
      expect(node.findings.find(({ code }) => code === 'PredecessorLeft')?.advice).toContain('from-bootkube');
      expect((await checkpointer('recover', '--boot', '--probe-timeout=0s', ...flags)).out).toContain("take over bootkube's checkpoint");
      expect(await readdir(manifests)).toEqual(['pod-checkpointer.kube-system.kube-scheduler-ds-g1-a1.json']);
    });
  },
);

describe('what it left', () => {
  it('is read again only as far as it changed, and its copy is the same for the same files', async () => {
    await leave(bootkube, pod(), { secrets: SECRETS });
    const [first] = (await predecessor()).checkpoints;
    const [second] = (await predecessor()).checkpoints;
    expect(second?.copy).toBe(first?.copy);
    await writeFile(join(host.dir, 'checkpoint-secrets/kube-system', NAME, 'kube-scheduler/kubeconfig'), 'another one!!!');
    const [third] = (await predecessor()).checkpoints;
    expect(third?.copy?.kind === 'copy' && first?.copy?.kind === 'copy' && third.copy.copy.digest !== first.copy.copy.digest).toBe(true);
  });

  it('is known as far as the disk gives it, and none of it can be removed where there is more', async () => {
    await leave(bootkube, pod(), { secrets: SECRETS, active: true });
    await leave(bootkube, pod('kube-scheduler-other'), { secrets: SECRETS });
    const bad = (part: string) =>
      readPredecessor({
        podManifestPath: host.manifests,
        copies: new Map(),
        wanted: () => true,
        read: (path, limit) =>
          path.includes(part) ? Promise.reject(Object.assign(new Error(`EIO: ${path}`), { code: 'EIO' })) : readRegular(path, limit),
      });
    const found = await bad('kube-system-kube-scheduler-other.json');
    expect(found).toMatchObject({ state: 'ok', removable: false, empty: [], checkpoints: [{ name: NAME, active: FILE }, { data: true }] });
    const file = await bad(`${NAME}/kube-scheduler/kubeconfig`);
    expect(file).toMatchObject({ state: 'ok', removable: true, checkpoints: [{ active: FILE, copy: { kind: 'refused' } }, {}] });
  });

  it('stays while a manifest that somebody else made of it names its files', async () => {
    await leave(bootkube, pod(), { secrets: SECRETS });
    const inactive = join(host.dir, 'inactive-manifests', FILE);
    const byHand = join(host.manifests, 'scheduler.yaml');
    await writeFile(byHand, await readFile(inactive));
    await expect(clear()).rejects.toThrow(/is named in .*scheduler\.yaml/);
    expect(await readFile(join(host.dir, 'checkpoint-secrets/kube-system', NAME, 'kube-scheduler/kubeconfig'), 'utf8')).toBe(
      'the kubeconfig',
    );
    expect((await lstat(inactive)).isFile()).toBe(true);
    await rm(byHand);
    await clear();
    expect((await predecessor()).checkpoints).toEqual([]);
  });

  it('goes as a whole, manifest and files, and nothing of another pod with it; its empty directories last', async () => {
    await leave(bootkube, pod(), { secrets: SECRETS, configMaps: { audit: { policy: 'x' } } });
    await leave(bootkube, pod('kube-scheduler-other'), { secrets: SECRETS });
    await clear();
    expect(await readdir(join(host.dir, 'inactive-manifests'))).toEqual(['kube-system-kube-scheduler-other.json']);
    expect(await tree(join(host.dir, 'checkpoint-secrets'))).toEqual([
      'kube-system',
      'kube-system/kube-scheduler-other',
      'kube-system/kube-scheduler-other/kube-scheduler',
      'kube-system/kube-scheduler-other/kube-scheduler/kubeconfig',
    ]);
    // A removal that was interrupted, or that somebody else did: again is no error.
    await clear();
    await clear('kube-scheduler-other');
    const { checkpoints, empty } = await predecessor();
    expect(checkpoints).toEqual([]);
    await act({ kind: 'tidyPredecessor', directories: empty }, effects());
    expect((await readdir(host.dir)).filter((name) => /inactive|checkpoint-/.test(name))).toEqual([]);
    expect(await disk.read()).not.toHaveProperty('predecessor');
  });

  it('is not removed while its manifest is active, unless it is its copy of itself', async () => {
    await leave(bootkube, pod(), { secrets: SECRETS, active: true });
    await expect(clear()).rejects.toThrow(/is active/);
    expect(await host.active()).toEqual([FILE]);
    const file = await leave(bootkube, bootkubePod('pod-checkpointer-8wxtg', 'u'), { active: true });
    await clear('pod-checkpointer-8wxtg', { active: file, whole: false });
    expect(await host.active()).toEqual([FILE]);
    expect(await readdir(join(host.dir, 'inactive-manifests'))).toContain(file);
  });

  it.each<[string, (at: { readonly pod: string; readonly keep: string }) => Promise<void>]>([
    ['a link in the place of a key', ({ pod: at, keep }) => symlink(keep, join(at, 'kube-scheduler', 'link'))],
    ['a link in the place of a Secret', ({ pod: at, keep }) => symlink(join(keep, '..'), join(at, 'linked'))],
    ['a file in the place of a Secret', ({ pod: at }) => writeFile(join(at, 'note'), 'by hand')],
    ['a directory in the place of a key', ({ pod: at }) => mkdir(join(at, 'kube-scheduler', 'more'))],
  ])('stays where there is %s, and what a link leads to is not touched', async (_what, put) => {
    await leave(bootkube, pod(), { secrets: SECRETS });
    const keep = join(host.dir, 'elsewhere', 'precious');
    await mkdir(join(host.dir, 'elsewhere'));
    await writeFile(keep, 'precious');
    const at = join(host.dir, 'checkpoint-secrets/kube-system', NAME);
    await put({ pod: at, keep });
    await expect(clear()).rejects.toThrow(/remove it by hand/);
    expect(await readFile(join(at, 'kube-scheduler', 'kubeconfig'), 'utf8')).toBe('the kubeconfig');
    expect(await readFile(keep, 'utf8')).toBe('precious');
  });

  it('is not looked for, nor removed, behind a link in the place of one of its directories', async () => {
    await leave(bootkube, pod(), { secrets: SECRETS });
    await rename(join(host.dir, 'checkpoint-secrets'), join(host.dir, 'moved'));
    await symlink(join(host.dir, 'moved'), join(host.dir, 'checkpoint-secrets'));
    expect((await predecessor()).checkpoints).toMatchObject([{ inactive: true, data: false }]);
    await expect(clear()).rejects.toThrow(/expected a directory/);
    expect((await lstat(join(host.dir, 'moved/kube-system', NAME, 'kube-scheduler/kubeconfig'))).isFile()).toBe(true);
  });

  it('takes no manifest of a stranger from the directory of the kubelet', async () => {
    const file = 'kube-system-by-hand.json';
    await writeFile(join(host.manifests, file), JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name: 'by-hand' }, spec: {} }));
    await expect(act({ kind: 'deactivate', workload: SCHEDULER, file }, effects())).rejects.toThrow(/not a manifest of bootkube/);
    expect(await host.active()).toEqual([file]);
    await leave(bootkube, pod(), { active: true });
    await act({ kind: 'deactivate', workload: SCHEDULER, file: FILE }, effects());
    expect(await host.active()).toEqual([file]);
  });
});
