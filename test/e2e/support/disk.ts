/** A new node's disk: certificates, configurations, an empty etcd. */
import { generateKeyPairSync } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dump } from 'js-yaml';
import { createClientCertificate, writeClusterPki } from '../../../src/embedded/pki.ts';
import { PAUSE_IMAGE } from './images.ts';
import { ADDRESS, filesOf, MOUNTS, NODE_NAME, SERVER, SERVICE_ADDRESS } from './layout.ts';
import { CNI_DIRECTORY } from './machine.ts';

export async function createDisk(directory: string): Promise<void> {
  const files = filesOf(directory);
  for (const [on] of MOUNTS) await mkdir(join(files.disk, on), { recursive: true });
  await mkdir(files.manifests);
  await mkdir(files.logs, { recursive: true });
  const kubernetes = join(files.disk, 'etc-kubernetes');
  const names = [
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    'localhost',
    NODE_NAME,
    '127.0.0.1',
    ADDRESS,
    SERVICE_ADDRESS,
  ];
  const pki = await writeClusterPki(kubernetes, { server: SERVER, names, nodeName: NODE_NAME });
  const admin = await createClientCertificate(pki.authority, 'kubernetes-admin', ['system:masters']);
  await writePair(files.pki, 'admin', admin.certificate, admin.key);
  const client = await createClientCertificate(pki.authority, 'kube-apiserver-kubelet-client', ['system:masters']);
  await writePair(files.pki, 'kubelet-client', client.certificate, client.key);
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  await writeFile(join(files.pki, 'sa.pub'), publicKey.export({ type: 'spki', format: 'pem' }));
  await writeFile(join(files.pki, 'sa.key'), privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  await writeFile(join(kubernetes, 'kubelet.yaml'), dump(KUBELET_CONFIGURATION));
  await writeFile(join(files.disk, 'etc-cni/10-bridge.conflist'), JSON.stringify(NETWORK));
  await writeFile(files.containerdConfig, CONTAINERD_CONFIGURATION);
}

async function writePair(directory: string, name: string, certificate: string, key: string): Promise<void> {
  await writeFile(join(directory, `${name}.crt`), certificate);
  await writeFile(join(directory, `${name}.key`), key, { mode: 0o600 });
}

const KUBELET_CONFIGURATION = {
  apiVersion: 'kubelet.config.k8s.io/v1beta1',
  kind: 'KubeletConfiguration',
  staticPodPath: '/etc/kubernetes/manifests',
  containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
  cgroupDriver: 'cgroupfs',
  // Machines without cgroup v2 are good enough for a test.
  failCgroupV1: false,
  failSwapOn: false,
  // The node has the machine's cgroups and must not take them over.
  cgroupsPerQOS: false,
  enforceNodeAllocatable: [],
  clusterDNS: ['10.96.0.10'],
  clusterDomain: 'cluster.local',
  authentication: {
    anonymous: { enabled: false },
    webhook: { enabled: true },
    x509: { clientCAFile: '/etc/kubernetes/pki/ca.crt' },
  },
  authorization: { mode: 'Webhook' },
  evictionHard: { 'memory.available': '50Mi', 'nodefs.available': '1%', 'imagefs.available': '1%' },
  imageGCHighThresholdPercent: 99,
};

const NETWORK = {
  cniVersion: '0.4.0',
  name: 'pods',
  plugins: [
    {
      type: 'bridge',
      bridge: 'cni0',
      isGateway: true,
      ipam: { type: 'host-local', ranges: [[{ subnet: '10.244.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] },
    },
  ],
};

// restrict_oom_score_adj: in a container without CAP_SYS_RESOURCE no process may get a lower score than containerd's.
const CONTAINERD_CONFIGURATION = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = ${JSON.stringify(PAUSE_IMAGE)}
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = ${JSON.stringify(CNI_DIRECTORY)}
    conf_dir = "/etc/cni/net.d"
`;
