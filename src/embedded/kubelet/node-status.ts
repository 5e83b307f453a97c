/** The node's own object: made when it is missing, its status and its lease (pkg/kubelet/kubelet_node_status.go). */
import { hostname } from 'node:os';
import { timestamp } from '../apiserver/objects.ts';
import { AnswerError, type ApiClient } from '../controllers/client.ts';
import { type Log, messageOf } from '../log.ts';
import { isNotFound } from './objects.ts';

const RESOURCES = { cpu: '4', memory: '8Gi', pods: '110', 'ephemeral-storage': '100Gi' };

export interface NodeFacts {
  readonly name: string;
  readonly ip: string;
  readonly bootId: string;
  readonly labels: Readonly<Record<string, string>>;
}

export function nodeObject(facts: NodeFacts, now: number): object {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name: facts.name,
      labels: { 'kubernetes.io/hostname': facts.name, 'kubernetes.io/os': 'linux', 'kubernetes.io/arch': 'amd64', ...facts.labels },
    },
    status: nodeStatus(facts, now),
  };
}

function nodeStatus(facts: NodeFacts, now: number): object {
  const at = timestamp(now);
  return {
    addresses: [
      { type: 'InternalIP', address: facts.ip },
      { type: 'Hostname', address: hostname() },
    ],
    capacity: RESOURCES,
    allocatable: RESOURCES,
    nodeInfo: {
      machineID: facts.name,
      systemUUID: facts.name,
      bootID: facts.bootId,
      kernelVersion: 'embedded',
      osImage: 'embedded',
      containerRuntimeVersion: 'embedded://1',
      kubeletVersion: 'v1.36.2',
      kubeProxyVersion: '',
      operatingSystem: 'linux',
      architecture: 'amd64',
    },
    conditions: [
      ...['MemoryPressure', 'DiskPressure', 'PIDPressure'].map((type) => ({ type, status: 'False', reason: 'Kubelet', message: '' })),
      { type: 'Ready', status: 'True', reason: 'KubeletReady', message: 'kubelet is posting ready status' },
    ].map((condition) => ({ ...condition, lastHeartbeatTime: at, lastTransitionTime: at })),
  };
}

const FIRST_RETRY_MS = 100;
const MAX_RETRY_MS = 7000;
/** How often the lease is renewed. */
const LEASE_MS = 10_000;
/** How often the status of a node that has not changed is reported. */
const STATUS_MS = 300_000;

/** Registers the node, retrying until the API server answers, then renews its lease and its status. */
export function keepNode(client: ApiClient, facts: NodeFacts, log: Log, signal: AbortSignal): void {
  let pause = FIRST_RETRY_MS;
  const again = (step: () => Promise<void>, after: number) => {
    const timer = setTimeout(() => void step(), after);
    signal.addEventListener('abort', () => clearTimeout(timer), { once: true });
  };
  const register = async () => {
    try {
      await create();
      log(`node ${facts.name} registered`);
      setInterval(() => void renewLease(), LEASE_MS);
      setInterval(() => void report(), STATUS_MS);
      await renewLease();
    } catch {
      again(register, pause);
      pause = Math.min(pause * 2, MAX_RETRY_MS);
    }
  };
  const create = async () => {
    try {
      await client.request('POST', '/api/v1/nodes', nodeObject(facts, Date.now()));
    } catch (error) {
      if (!(error instanceof AnswerError && error.code === 409)) throw error;
      await patchStatus();
    }
  };
  const patchStatus = () =>
    client.request(
      'PATCH',
      `/api/v1/nodes/${facts.name}/status`,
      { status: nodeStatus(facts, Date.now()) },
      {
        contentType: 'application/strategic-merge-patch+json',
      },
    );
  const report = () => patchStatus().catch((error: unknown) => log(`node status not reported: ${messageOf(error)}`));
  const renewLease = async () => {
    const path = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases';
    const spec = { holderIdentity: facts.name, leaseDurationSeconds: 40, renewTime: new Date().toISOString().replace('Z', '000Z') };
    try {
      await client.request('PATCH', `${path}/${facts.name}`, { spec }, { contentType: 'application/merge-patch+json' });
    } catch (error) {
      if (!isNotFound(error)) return;
      const lease = {
        apiVersion: 'coordination.k8s.io/v1',
        kind: 'Lease',
        metadata: { name: facts.name, namespace: 'kube-node-lease' },
        spec,
      };
      await client.request('POST', path, lease).catch(() => {});
    }
  };
  void register();
}
