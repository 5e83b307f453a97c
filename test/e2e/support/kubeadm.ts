/** A control plane whose certificates, kubeconfigs and static pods kubeadm itself makes. etcd is the harness', which kubeadm takes for an external one. */
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dump } from 'js-yaml';
import { COMPONENTS } from './control-plane.ts';
import { imageOf, REGISTRY } from './images.ts';
import { ADDRESS, NODE_NAME, SERVICE_RANGE } from './layout.ts';
import type { RealNode } from './node.ts';

/** `kubeadm version --output=short` of the inside: the images of the harness are tagged so, because a manifest's tag says its version. */
type Version = string;

/** Where the harness' network has its pods. */
const POD_RANGE = '10.244.0.0/16';
const CONFIGURATION = '/etc/kubernetes/kubeadm.yaml';

/** Takes the harness' own static pods off the disk. The node is off. */
export async function withoutStaticPods({ files }: RealNode): Promise<void> {
  for (const name of await readdir(files.manifests)) await rm(join(files.manifests, name));
  // kubeadm makes these anew, for users of its own choice; a certificate authority that is there it takes.
  for (const name of ['controller-manager.conf', 'scheduler.conf']) await rm(join(files.disk, 'etc-kubernetes', name));
}

/** On a node that is on and has its images. Returns the version that kubeadm writes into the manifests. */
export async function makeStaticPods(node: RealNode, kubeadm: string): Promise<Version> {
  const version = (await node.inside([kubeadm, 'version', '--output=short'])).trim();
  for (const component of COMPONENTS) await tagImage(node, imageOf(component), `${REGISTRY}/${component}:${version}`);
  await writeFile(join(node.files.disk, 'etc-kubernetes/kubeadm.yaml'), configuration(version));
  const phases = [
    ['certs', 'all'],
    ['kubeconfig', 'controller-manager'],
    ['kubeconfig', 'scheduler'],
    ['control-plane', 'all'],
  ];
  for (const phase of phases) await node.inside([kubeadm, 'init', 'phase', ...phase, `--config=${CONFIGURATION}`]);
  return version;
}

export async function tagImage(node: RealNode, image: string, as: string): Promise<void> {
  await node.inside(['ctr', '--namespace=k8s.io', 'images', 'tag', '--force', image, as]);
}

/** Everything that is not named here is kubeadm's default. */
function configuration(version: Version): string {
  const initial = {
    apiVersion: 'kubeadm.k8s.io/v1beta4',
    kind: 'InitConfiguration',
    localAPIEndpoint: { advertiseAddress: ADDRESS, bindPort: 6443 },
    nodeRegistration: { name: NODE_NAME, criSocket: 'unix:///run/containerd/containerd.sock' },
  };
  const cluster = {
    apiVersion: 'kubeadm.k8s.io/v1beta4',
    kind: 'ClusterConfiguration',
    kubernetesVersion: version,
    imageRepository: REGISTRY,
    networking: { podSubnet: POD_RANGE, serviceSubnet: SERVICE_RANGE },
    etcd: { external: { endpoints: ['http://127.0.0.1:2379'] } },
  };
  return [initial, cluster].map((document) => dump(document)).join('---\n');
}
