/** What kubeadm itself writes, beside what the tests of a pivot take for it. */
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { dump, load } from 'js-yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { COMPONENTS, type Component, parseStaticPod } from '../../src/pivot/component.ts';
import { toDaemonSet } from '../../src/pivot/daemonset.ts';
import { toStaticPod } from '../../src/pivot/static-pod.ts';
import { PROGRAM_PATH } from '../support/packages.ts';
import { kubeadmPod } from '../support/pivot/kubeadm.ts';
import { skipLoudly } from '../support/skip.ts';
import { findMachine } from './support/machine.ts';

const NODE = { name: 'master-1', hostIP: '10.0.0.10' };
const found = findMachine();
const kubeadm = found.state === 'ready' ? found.machine.kubeadm : undefined;
const missing = found.state === 'missing' ? found.reason : kubeadm === undefined ? 'KUBE_BIN has no kubeadm' : undefined;

const arg = (name: string, value: string) => ({ name, value });
/** Flags, volumes and variables of one's own, in each component. */
const OWN = {
  controlPlaneEndpoint: 'api.example.org:6443',
  apiServer: {
    extraArgs: [
      arg('audit-log-path', '/var/log/kubernetes/audit.log'),
      arg('bind-address', NODE.hostIP),
      arg('feature-gates', 'WatchList=true'),
    ],
    extraEnvs: [arg('GOGC', '80')],
    extraVolumes: [{ name: 'audit-log', hostPath: '/var/log/kubernetes', mountPath: '/var/log/kubernetes', pathType: 'DirectoryOrCreate' }],
  },
  controllerManager: { extraArgs: [arg('bind-address', '0.0.0.0'), arg('node-cidr-mask-size', '25')] },
  scheduler: {
    extraArgs: [arg('bind-address', '0.0.0.0'), arg('config', '/etc/kubernetes/scheduler-config.yaml')],
    extraVolumes: [
      {
        name: 'config',
        hostPath: '/etc/kubernetes/scheduler-config.yaml',
        mountPath: '/etc/kubernetes/scheduler-config.yaml',
        readOnly: true,
        pathType: 'File',
      },
    ],
  },
};

describe.skipIf(skipLoudly("end-to-end: kubeadm's manifests", missing))("kubeadm's manifests", () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'kubeadm-'));
  });
  afterAll(() => rm(directory, { recursive: true }));

  /** kubeadm writes below /etc/kubernetes: that of a mount namespace of its own is this directory. */
  async function written(cluster: object): Promise<ReadonlyMap<Component, string>> {
    await rm(join(directory, 'manifests'), { recursive: true, force: true });
    const documents = [
      { kind: 'InitConfiguration', localAPIEndpoint: { advertiseAddress: NODE.hostIP }, nodeRegistration: { name: NODE.name } },
      { kind: 'ClusterConfiguration', kubernetesVersion: 'v1.36.2', networking: { podSubnet: '10.244.0.0/16' }, ...cluster },
    ];
    const config = documents.map((one) => dump({ apiVersion: 'kubeadm.k8s.io/v1beta4', ...one })).join('---\n');
    await writeFile(join(directory, 'config.yaml'), config);
    const script =
      'mkdir -p /etc/kubernetes && mount --bind "$1" /etc/kubernetes && exec "$0" init phase control-plane all --config=/etc/kubernetes/config.yaml';
    execFileSync('unshare', ['--mount', 'sh', '-ec', script, kubeadm ?? '', directory], {
      env: { ...process.env, PATH: PROGRAM_PATH },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    return new Map(
      await Promise.all(COMPONENTS.map(async (one) => [one, await readFile(join(directory, 'manifests', `${one}.yaml`), 'utf8')] as const)),
    );
  }

  it('are what the fixtures of 1.36 say', async () => {
    const manifests = await written({});
    for (const component of COMPONENTS)
      expect(load(manifests.get(component) ?? '')).toEqual(kubeadmPod(component, { nodeIP: NODE.hostIP, minor: 36 }));
  });

  it("become DaemonSets and static pods again, with flags, volumes and variables of one's own", async () => {
    const manifests = await written(OWN);
    for (const component of COMPONENTS) {
      const pod = parseStaticPod(manifests.get(component) ?? '', component);
      const outcome = toDaemonSet(component, pod, NODE);
      if (outcome.kind === 'refused') throw new Error(JSON.stringify(outcome.refusals));
      const { status: _, ...original } = pod;
      expect(toStaticPod(component, pod, outcome.daemonSet, NODE)).toEqual(original);
    }
  });
});
