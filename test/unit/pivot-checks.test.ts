/** What has to be right before a pivot changes anything, and what is shown of it. */
import type { V1Node } from '@kubernetes/client-node';
import { loadAll } from 'js-yaml';
import { describe, expect, it } from 'vitest';
import { isReady, type PivotFacts, pivotChecks } from '../../src/pivot/checks.ts';
import { COMPONENTS } from '../../src/pivot/component.ts';
import { toDaemonSet } from '../../src/pivot/daemonset.ts';
import type { Gathered } from '../../src/pivot/gather.ts';
import { preview } from '../../src/pivot/preview.ts';
import { credentialFiles, secretOf, type Wanted } from '../../src/pivot/secrets.ts';
import { kubeadmPod } from '../support/pivot/kubeadm.ts';

const NODE: V1Node = {
  metadata: { name: 'master-1', labels: { 'node-role.kubernetes.io/control-plane': '' } },
  status: { conditions: [{ type: 'Ready', status: 'True' }], addresses: [{ type: 'InternalIP', address: '10.0.0.10' }] },
};
const manifests = (version = '1.36.2') =>
  COMPONENTS.map((component) => ({
    component,
    file: `/etc/kubernetes/manifests/${component}.yaml`,
    image: `registry.k8s.io/${component}:v${version}`,
    trouble: undefined,
    running: true,
  }));
const FACTS: PivotFacts = {
  nodeName: 'master-1',
  node: NODE,
  api: { state: 'ok', version: 'v1.36.2' },
  manifests: manifests(),
  anyManifest: false,
  checkpointer: 'ready',
  freeBytes: 2 ** 30,
  checkpointDir: '/var/lib/pod-checkpointer',
  manifestsWritable: true,
  clockAhead: 300,
  refusals: [],
  differences: new Map(),
  leaseHolder: undefined,
};

const withImage = (component: string, image: string) => manifests().map((one) => (one.component === component ? { ...one, image } : one));

describe('the checks before a pivot', () => {
  it('let a healthy master of kubeadm pass', () => {
    expect(pivotChecks(FACTS).filter(({ state }) => state !== 'ok')).toEqual([]);
  });

  it.each<[string, Partial<PivotFacts>, string, string]>([
    ['an API server that is not ready', { api: { state: 'bad', detail: 'HTTP 500 for /readyz' } }, 'API server', 'HTTP 500 for /readyz'],
    ['a node that is not there', { node: undefined }, 'Node', 'there is no node master-1'],
    [
      'a node that is not Ready',
      { node: { ...NODE, status: { ...NODE.status, conditions: [{ type: 'Ready', status: 'Unknown' }] } } },
      'Node',
      'master-1 is not Ready',
    ],
    [
      'a node without the role',
      { node: { ...NODE, metadata: { name: 'master-1' } } },
      'Role',
      'master-1 has no label node-role.kubernetes.io/control-plane',
    ],
    [
      'a node without an address',
      { node: { ...NODE, status: { ...NODE.status, addresses: [] } } },
      'Address',
      'master-1 has no InternalIP',
    ],
    [
      'a manifest that is not there',
      { manifests: manifests().map((one) => ({ ...one, trouble: 'there is no file x' })) },
      'kube-apiserver',
      'there is no file x',
    ],
    [
      'a static pod that is not Ready',
      { manifests: manifests().map((one) => ({ ...one, running: false })) },
      'kube-apiserver',
      'its static pod (/etc/kubernetes/manifests/kube-apiserver.yaml) is not Ready',
    ],
    [
      'a version that is too old',
      { manifests: manifests('1.29.4') },
      'Versions',
      'kube-apiserver 1.29, kube-controller-manager 1.29, kube-scheduler 1.29: expected 1.30 to 1.36',
    ],
    [
      'a scheduler that is newer than the API server',
      { manifests: withImage('kube-apiserver', 'x/kube-apiserver:v1.35.1') },
      'Versions',
      'kube-apiserver 1.35, kube-controller-manager 1.36, kube-scheduler 1.36',
    ],
    ['a checkpointer that is not there', { checkpointer: 'absent' }, 'Checkpointer', 'DaemonSet kube-system/pod-checkpointer is not there'],
    ['a checkpointer that is not Ready', { checkpointer: 'not ready' }, 'Checkpointer', 'its pod on master-1 is not Ready'],
    ['a full disk', { freeBytes: 1024 }, 'Store', '0 MiB are free in /var/lib/pod-checkpointer, 64 MiB are needed'],
    ['a store that is not there', { freeBytes: undefined }, 'Store', '/var/lib/pod-checkpointer is not there or cannot be written to'],
    [
      'manifests that cannot be changed',
      { manifestsWritable: false },
      'Manifests',
      'the directory of the static pods cannot be written to',
    ],
    ['a clock that is wrong', { clockAhead: -60_000 }, 'Clock', "60.0 s behind the API server's"],
    [
      'another master in the middle of its pivot',
      { leaseHolder: 'master-2' },
      'Other masters',
      'node master-2 is in the middle of a pivot',
    ],
    [
      'a refusal',
      { refusals: [{ component: 'kube-apiserver', what: '--advertise-address', message: 'it is another one' }] },
      'kube-apiserver',
      '--advertise-address: it is another one',
    ],
    [
      'another master that differs',
      { differences: new Map([['kube-scheduler', [{ what: '--v of container kube-scheduler', wanted: '4', found: undefined }]]]) },
      'kube-scheduler',
      'DaemonSet kube-scheduler is there and differs: --v of container kube-scheduler: 4 here, none there',
    ],
  ])('stop at %s, and say what to do', (_what, facts, check, seen) => {
    const checks = pivotChecks({ ...FACTS, ...facts });
    const failed = checks.find((one) => one.state === 'fail' && one.check === check);
    expect(failed?.seen).toBe(seen);
    expect(failed?.advice).toMatch(/\.$/);
    expect(isReady(checks)).toBe(false);
  });

  it.each<[string, Partial<PivotFacts>]>([
    [
      'a version that was not tried, of manifests that were named',
      { manifests: manifests('1.38.0'), anyManifest: true, api: { state: 'ok', version: 'v1.38.0' } },
    ],
    ['an image without a version', { manifests: withImage('kube-scheduler', 'registry.local/kube-scheduler:nightly') }],
    ['an API server that answers with another version', { api: { state: 'ok', version: 'v1.35.0' } }],
    ['an API server that does not say its time', { clockAhead: undefined }],
    ['a pivot of this node that was interrupted', { leaseHolder: 'master-1' }],
    ['a checkpointer that is deployed first', { checkpointer: 'to be deployed' }],
  ])('let %s pass', (_what, facts) => {
    expect(isReady(pivotChecks({ ...FACTS, ...facts }))).toBe(true);
  });
});

describe('what is shown before a pivot', () => {
  const wanted = new Map(
    COMPONENTS.map((component): [(typeof COMPONENTS)[number], Wanted] => {
      const pod = kubeadmPod(component, { nodeIP: '10.0.0.10', minor: 36 });
      const outcome = toDaemonSet(component, pod, { name: 'master-1', hostIP: '10.0.0.10' });
      if (outcome.kind === 'refused') throw new Error('a DaemonSet was expected');
      const files = credentialFiles(component, pod);
      return [
        component,
        {
          daemonSet: outcome.daemonSet,
          secrets: [secretOf(component, files, new Map(files.map(({ path }) => [path, Buffer.from('hunter2')])))],
        },
      ];
    }),
  );
  const gathered: Gathered = { facts: FACTS, manifests: [], node: NODE, wanted, daemonSets: {} };

  it('is what would be applied, without what is in Secrets', () => {
    const { text, ready } = preview(gathered, 'yaml');
    expect(ready).toBe(true);
    expect(loadAll(text).map((object) => (object as { kind: string }).kind)).toEqual([
      'Secret',
      'DaemonSet',
      'Secret',
      'DaemonSet',
      'Secret',
      'DaemonSet',
    ]);
    expect(text).not.toContain('hunter2');
    expect(text).not.toContain(Buffer.from('hunter2').toString('base64'));
    expect(text).toContain('(7 bytes)');
  });

  it('says what is in the way, as a comment where the rest is YAML', () => {
    const { text, ready } = preview({ ...gathered, facts: { ...FACTS, checkpointer: 'absent' } }, 'yaml');
    expect(ready).toBe(false);
    expect(text.split('\n')[0]).toBe('# Checkpointer: DaemonSet kube-system/pod-checkpointer is not there');
    expect(loadAll(text)).toHaveLength(6);
  });

  it('says what differs from what is there', () => {
    const differences: PivotFacts['differences'] = new Map([
      ['kube-apiserver', []],
      ['kube-scheduler', [{ what: '--v of container kube-scheduler', wanted: '4', found: '2' }]],
    ]);
    expect(preview({ ...gathered, facts: { ...FACTS, differences } }, 'diff').text).toContain(
      `DaemonSet kube-apiserver: is there and the same
DaemonSet kube-controller-manager: is not there, would be made
Secret kube-controller-manager-credentials: would be made
DaemonSet kube-scheduler: is there and differs
  --v of container kube-scheduler: 4 here, 2 there
`,
    );
  });
});
