import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { V1Container, V1DaemonSet, V1Pod } from '@kubernetes/client-node';
import { loadAll } from 'js-yaml';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULT_METRICS_ADDRESS } from '../../src/platform/metrics-server.ts';
import { checkpointer } from '../support/host/host.ts';
import { kustomize, type Manifest } from '../support/kustomize.ts';
import { findProgram } from '../support/packages.ts';
import { skipLoudly } from '../support/skip.ts';

const ROOT = join(import.meta.dirname, '../..');
const OVERLAYS = readdirSync(join(ROOT, 'manifests/overlays')).sort();
const overlay = (name: string): Manifest[] => kustomize(join(ROOT, 'manifests/overlays', name));

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'kustomize-'));
  symlinkSync(join(ROOT, 'node_modules'), join(directory, 'node_modules'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function daemonSet(objects: readonly Manifest[]): V1DaemonSet {
  const found = objects.filter(({ kind }) => kind === 'DaemonSet');
  expect(found).toHaveLength(1);
  return found[0] as unknown as V1DaemonSet;
}

/** The pod as the API server has it: a name, an owner, a node, the token that admission adds. */
function podOf({ metadata, spec }: V1DaemonSet): V1Pod {
  const template = spec?.template;
  const token = {
    name: 'kube-api-access-x2b7k',
    projected: {
      defaultMode: 0o644,
      sources: [
        { serviceAccountToken: { path: 'token', expirationSeconds: 3607 } },
        { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
        { downwardAPI: { items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }] } },
      ],
    },
  };
  const mount = { name: token.name, mountPath: '/var/run/secrets/kubernetes.io/serviceaccount', readOnly: true };
  const mounting = (container: V1Container): V1Container => ({ ...container, volumeMounts: [...(container.volumeMounts ?? []), mount] });
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...template?.metadata,
      name: 'pod-checkpointer-5xk2p',
      namespace: metadata?.namespace ?? '',
      uid: 'a3f5b1de-7a1e-4b0e-9a57-3f5d0c1b2a11',
      ownerReferences: [
        { apiVersion: 'apps/v1', kind: 'DaemonSet', name: metadata?.name ?? '', uid: 'uid-of-the-daemonset', controller: true },
      ],
    },
    spec: {
      ...template?.spec,
      containers: (template?.spec?.containers ?? []).map(mounting),
      ...(template?.spec?.initContainers !== undefined && { initContainers: template.spec.initContainers.map(mounting) }),
      volumes: [...(template?.spec?.volumes ?? []), token],
      nodeName: 'master-1',
    },
  };
}

const containersOf = (set: V1DaemonSet): V1Container[] => [
  ...(set.spec?.template.spec?.initContainers ?? []),
  ...(set.spec?.template.spec?.containers ?? []),
];

describe.each(OVERLAYS)('overlay %s', (name) => {
  test('its DaemonSet makes a pod that has a copy', async () => {
    const objects = overlay(name);
    const ca = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'kube-root-ca.crt', namespace: 'kube-system' },
      data: { 'ca.crt': 'CA' },
    };
    const file = join(directory, `${name}.json`);
    const items = [podOf(daemonSet(objects)), ca, ...objects.filter(({ kind }) => kind === 'ConfigMap')];
    writeFileSync(file, JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
    const { code, out, err } = await checkpointer('sanitize', '-f', file, '-o', 'json', '--kubernetes-service=10.96.0.1:443');
    expect({ code, err, refused: out.includes('"refused"') ? out : '' }).toEqual({ code: 0, err: '', refused: '' });
  });

  test('the containers may do what they need, and no more', () => {
    const set = daemonSet(overlay(name));
    expect(set.spec?.template.spec).toMatchObject({
      priorityClassName: 'system-node-critical',
      securityContext: { seccompProfile: { type: 'RuntimeDefault' } },
      tolerations: [{ operator: 'Exists' }],
    });
    for (const { securityContext } of containersOf(set))
      expect(securityContext).toMatchObject({
        privileged: false,
        allowPrivilegeEscalation: false,
        readOnlyRootFilesystem: true,
        capabilities: { drop: ['ALL'] },
      });
    expect(set.spec?.template.spec?.containers[0]?.securityContext?.capabilities?.add).toEqual([
      'CHOWN',
      'DAC_OVERRIDE',
      'FOWNER',
      'FSETID',
    ]);
  });

  test("what the daemon mounts of the host lies at the host's own path, and of /etc/kubernetes it can write the static pods alone", () => {
    const spec = daemonSet(overlay(name)).spec?.template.spec;
    const hostPaths = new Map(
      spec?.volumes?.flatMap((volume) => (volume.hostPath === undefined ? [] : [[volume.name, volume.hostPath.path]])),
    );
    const mounts = (spec?.containers[0]?.volumeMounts ?? []).filter((mount) => hostPaths.has(mount.name));
    for (const mount of mounts) expect(hostPaths.get(mount.name)).toBe(mount.mountPath);
    const writable = mounts.filter(({ readOnly }) => readOnly !== true).map(({ mountPath }) => mountPath);
    // What bootkube's pod-checkpointer left lies beside the static pods.
    const more = name === 'from-bootkube' ? ['/etc/kubernetes'] : [];
    expect(writable.sort()).toEqual([...more, '/etc/kubernetes/manifests', '/run/lock', '/var/lib/pod-checkpointer']);
  });

  test('each argument is a flag of its command, and every container has the one image', async () => {
    for (const { args = [], image } of containersOf(daemonSet(overlay(name)))) {
      expect(image).toMatch(/^pod-checkpointer:[0-9]+\.[0-9]+\.[0-9]+$/);
      const [command = '', ...flags] = args;
      const { out } = await checkpointer(command, '--help');
      for (const flag of flags) expect(out).toContain(flag.split('=')[0]);
    }
  });

  test('the probes ask where the daemon answers', () => {
    const [container] = daemonSet(overlay(name)).spec?.template.spec?.containers ?? [];
    for (const [probe, path] of [
      [container?.livenessProbe, '/livez'],
      [container?.readinessProbe, '/readyz'],
    ] as const) {
      const { host, port } = probe?.httpGet ?? {};
      expect(`${host}:${port}${probe?.httpGet?.path}`).toBe(`${DEFAULT_METRICS_ADDRESS}${path}`);
    }
  });
});

test('the default may not read a Secret or a ConfigMap by any role', () => {
  const rules = overlay('node-identity').flatMap(
    (object) => (object['rules'] ?? []) as readonly { resources: string[]; verbs: string[] }[],
  );
  expect(rules.length).toBeGreaterThan(0);
  for (const { resources, verbs } of rules) {
    expect(resources).not.toContain('secrets');
    expect(resources).not.toContain('configmaps');
    expect(verbs).toEqual(['get', 'list', 'watch']);
  }
});

test('where a role allows Secrets, it names each', () => {
  const rules = overlay('service-account').flatMap(
    (object) => (object['rules'] ?? []) as readonly { resources: string[]; resourceNames?: string[] }[],
  );
  const secrets = rules.filter(({ resources }) => resources.includes('secrets'));
  expect(secrets.length).toBeGreaterThan(0);
  for (const { resourceNames } of secrets) expect(resourceNames?.length).toBeGreaterThan(0);
});

test('a ServiceAccount without the identity of the node may read what the Node authorizer would have let that one read: the node itself', () => {
  const objects = overlay('service-account');
  const [role] = objects.filter(
    ({ kind, ...object }) =>
      kind === 'ClusterRole' &&
      ((object['rules'] ?? []) as readonly { resources: string[] }[]).some(({ resources }) => resources.includes('nodes')),
  );
  expect(role?.['rules']).toEqual([{ apiGroups: [''], resources: ['nodes'], verbs: ['get', 'list', 'watch'] }]);
  const name = (role?.['metadata'] as { name?: string } | undefined)?.name;
  expect(objects).toContainEqual(
    expect.objectContaining({
      kind: 'ClusterRoleBinding',
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
      subjects: [{ kind: 'ServiceAccount', name: 'pod-checkpointer', namespace: 'kube-system' }],
    }),
  );
});

/** Where the types of each object are, in the package of each end of the range: its generated API types say which fields there are, and of which type. */
const TYPES: Readonly<Record<string, { readonly '1.30': string; readonly '1.36': string }>> = {
  DaemonSet: { '1.30': 'apps/v1', '1.36': 'V1DaemonSet' },
  ConfigMap: { '1.30': 'core/v1', '1.36': 'V1ConfigMap' },
  ServiceAccount: { '1.30': 'core/v1', '1.36': 'V1ServiceAccount' },
  Role: { '1.30': 'rbac/v1', '1.36': 'V1Role' },
  RoleBinding: { '1.30': 'rbac/v1', '1.36': 'V1RoleBinding' },
  ClusterRole: { '1.30': 'rbac/v1', '1.36': 'V1ClusterRole' },
  ClusterRoleBinding: { '1.30': 'rbac/v1', '1.36': 'V1ClusterRoleBinding' },
};

/** A field of a stable API stays for as long as its version is served (https://kubernetes.io/docs/reference/using-api/deprecation-policy/, rule 1), so
 * what both ends of the range know, everything between them knows. */
describe.each(['1.30', '1.36'] as const)('against the API types of Kubernetes %s', (version) => {
  function typeErrors(objects: readonly Manifest[]): string {
    const source = objects.map((object, i) => {
      const types = TYPES[object.kind];
      if (types === undefined) throw new Error(`no type for a ${object.kind}`);
      const type =
        version === '1.30'
          ? `import('kubernetes-types/${types['1.30']}').${object.kind}`
          : `import('@kubernetes/client-node').${types['1.36']}`;
      return `export const object${i}: ${type} = ${JSON.stringify(object)};`;
    });
    const file = join(directory, `objects-${version}.ts`);
    writeFileSync(file, source.join('\n'));
    const flags = [
      '--noEmit',
      '--strict',
      '--skipLibCheck',
      '--target',
      'es2024',
      '--module',
      'esnext',
      '--moduleResolution',
      'bundler',
      '--types',
      'node',
    ];
    return spawnSync(join(ROOT, 'node_modules/.bin/tsc'), [...flags, file], { cwd: directory, encoding: 'utf8' }).stdout;
  }

  test('every object of every overlay has known fields of the right types, and all that are required', () => {
    expect(typeErrors(OVERLAYS.flatMap(overlay))).toBe('');
  });

  test('a misspelt field is found', () => {
    const [object] = overlay('node-identity').filter(({ kind }) => kind === 'DaemonSet');
    const set = structuredClone(object) as unknown as { spec: { template: { spec: Record<string, unknown> } } };
    set.spec.template.spec['hostNetworks'] = true;
    expect(typeErrors([set as unknown as Manifest])).toContain('hostNetworks');
  });
});

/** Undefined where there is a kubectl whose kustomize knows components. */
function missingKubectl(): string | undefined {
  if (findProgram('kubectl') === undefined) return 'no kubectl on PATH';
  const { stdout } = spawnSync('kubectl', ['version', '--client', '-o', 'json'], { encoding: 'utf8' });
  const version = /"kustomizeVersion": "v([0-9]+)/.exec(stdout)?.[1];
  return Number(version ?? 0) >= 5 ? undefined : 'this kubectl is older than 1.27: its kustomize is not version 5';
}

describe.skipIf(skipLoudly('the kustomizations as kubectl builds them', missingKubectl()))('kubectl kustomize', () => {
  test.each(OVERLAYS)('builds the same objects from %s', (name) => {
    const { stdout, stderr, status } = spawnSync('kubectl', ['kustomize', join(ROOT, 'manifests/overlays', name)], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const byName = (objects: readonly Manifest[]) => [...objects].sort((a, b) => keyOf(a).localeCompare(keyOf(b)));
    expect(byName(loadAll(stdout) as Manifest[])).toEqual(byName(overlay(name)));
  });
});

function keyOf({ kind, metadata }: Manifest): string {
  return `${kind}/${metadata.namespace ?? ''}/${metadata.name}`;
}
