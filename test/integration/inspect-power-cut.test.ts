/** What inspect says of a power cut is what `recover --boot` then does: on one store after another, damaged in one way after another. */
import { chmodSync, readdirSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { WARN_BEFORE } from '../../src/inspect/foresight/expiry.ts';
import { gather } from '../../src/inspect/gather.ts';
import { powerCut } from '../../src/inspect/power-cut.ts';
import { NOTHING_RUNS, recover } from '../../src/recovery/boot.ts';
import { readBootId } from '../../src/sources/boot.ts';
import { createDiskSource } from '../../src/sources/disk.ts';
import { type Host, testHost } from '../support/host/host.ts';

const WORKLOAD = 'kube-system/DaemonSet/kube-scheduler';

/** Two proven generations; the directory of the workload is given to what damages it. */
const DAMAGES: readonly (readonly [name: string, damage: (directory: string) => void])[] = [
  ['nothing', () => undefined],
  ['a file of the proven generation', (d) => writeFileSync(join(d, 'generations/2/files/keys/tls.key'), 'x')],
  ['a mounted file that is gone', (d) => rmSync(join(d, 'generations/2/files/keys/tls.crt'))],
  ['the pod of the proven generation', (d) => truncateSync(join(d, 'generations/2/pod.json'), 10)],
  ['the index of the proven generation', (d) => truncateSync(join(d, 'generations/2/index.json'), 100)],
  ['the proven generation, gone', (d) => rmSync(join(d, 'generations/2'), { recursive: true })],
  ['the pointer', (d) => writeFileSync(join(d, 'proven'), '2 nonsense\n')],
  [
    'both pointers',
    (d) => {
      for (const name of ['proven', 'previous']) writeFileSync(join(d, name), '');
    },
  ],
  ['a file of the generation before', (d) => writeFileSync(join(d, 'generations/1/files/keys/tls.key'), 'x')],
  [
    'a file that became a link',
    (d) => {
      rmSync(join(d, 'generations/2/files/keys/tls.key'));
      symlinkSync('/etc/hostname', join(d, 'generations/2/files/keys/tls.key'));
    },
  ],
  ['a file that nobody wrote there', (d) => writeFileSync(join(d, 'generations/2/files/keys/more'), '')],
  ['a file beside the pod', (d) => writeFileSync(join(d, 'generations/2/more'), '')],
  ['another mode', (d) => chmodSync(join(d, 'generations/2/files/keys/tls.key'), 0o777)],
  ['a directory with another mode', (d) => chmodSync(join(d, 'generations/2/files/keys'), 0o700)],
  [
    'a generation that became a link',
    (d) => {
      renameSync(join(d, 'generations/2'), join(d, 'elsewhere'));
      symlinkSync('../elsewhere', join(d, 'generations/2'));
    },
  ],
  [
    'both generations',
    (d) => {
      for (const number of [1, 2]) writeFileSync(join(d, `generations/${number}/files/keys/tls.key`), 'x');
    },
  ],
];

async function hostWithTwo(): Promise<{ host: Host; directory: string }> {
  const host = await testHost();
  onTestFinished(() => host[Symbol.asyncDispose]());
  await host.save('kube-scheduler', 'registry.example.org/kube-scheduler:1');
  await host.save('kube-scheduler', 'registry.example.org/kube-scheduler:2');
  return { host, directory: join(host.store, 'workloads/kube-system.ds.kube-scheduler') };
}

async function predicted(host: Host): Promise<{ generation: number | undefined; recovers: boolean }> {
  const facts = await gather({
    checkpointDir: host.store,
    podManifestPath: host.manifests,
    lockFile: host.lockFile,
    kubeconfig: '/nonexistent',
    probeTimeout: 0,
    containerRuntimeEndpoint: 'unix:///nonexistent',
    runtimeRequestTimeout: 100,
    hostRoot: join(host.dir, 'nowhere'),
    bootIdFile: host.bootIdFile,
  });
  // Who starts it is another question.
  const cut = powerCut({ ...facts, units: { ...facts.units, boot: { state: 'armed', by: 'kubelet.service' } } }, WARN_BEFORE).workloads.get(
    WORKLOAD as never,
  );
  return { generation: cut?.generation, recovers: cut?.verdict !== 'does not recover' };
}

/** As `recover --boot` does it once nobody answers. */
async function recovered({ store, manifests, bootIdFile }: Host): Promise<void> {
  const disk = createDiskSource(store, manifests);
  const place = { checkpointDir: store, podManifestPath: manifests, disk, wallClock: Date.now };
  const bootId = await readBootId(bootIdFile);
  await recover({ bootId, api: { state: 'unreachable', detail: 'after a power cut' }, runtime: NOTHING_RUNS, byHand: false }, place);
}

/** The generation whose manifest lies in the kubelet's directory. */
function active(host: Host): number | undefined {
  const [name] = readdirSync(host.manifests);
  return name === undefined ? undefined : Number(/-g([0-9]+)-a/.exec(name)?.[1]);
}

describe('what inspect says of a power cut is what recover --boot does', () => {
  it.each(DAMAGES)('with damage of: %s', async (_name, damage) => {
    const { host, directory } = await hostWithTwo();
    damage(directory);
    const { generation, recovers } = await predicted(host);
    await recovered(host);
    expect(generation).toBe(active(host));
    expect(recovers).toBe(generation !== undefined);
  });

  it.each(DAMAGES)('with a copy that is active already, and damage of: %s', async (name, damage) => {
    const { host, directory } = await hostWithTwo();
    await recovered(host);
    damage(directory);
    await host.powerOn();
    const { generation, recovers } = await predicted(host);
    await recovered(host);
    expect(generation).toBe(active(host));
    expect(recovers).toBe(name !== 'both generations');
  });
});
