/** Pods that an API server would take, with everything that they can refer to, and the objects that they name. For properties of copies. */
import type { V1Container, V1EnvVar, V1Pod, V1Probe, V1Volume, V1VolumeMount } from '@kubernetes/client-node';
import fc from 'fast-check';
import type { ApiObject, ObjectLookup, ObjectState } from '../../src/checkpoint/copy-types.ts';
import { container, markedPod, NAMESPACE, SERVICE } from './marked-pods.ts';

/** Begins every value of a Secret and every token, so that they can be searched for. */
export const SECRET_MARK = 'do-not-tell';

export interface Given {
  readonly pod: V1Pod;
  readonly lookup: ObjectLookup;
  /** Nothing is known yet. */
  readonly nothingLookup: ObjectLookup;
  /** The same answers, from objects whose keys stand the other way round. */
  readonly reversedLookup: ObjectLookup;
  readonly secretEnv: 'refuse' | 'inline';
}

const KEYS = ['ca.crt', 'tls.key', 'LEVEL', 'a-b', '.hidden'];
const key = fc.constantFrom(...KEYS);
const optional = fc.constantFrom(undefined, false, true);
const mode = fc.constantFrom(undefined, 0, 0o400, 0o440, 0o644, 0o777);
const text = fc.oneof(fc.constant(''), fc.constantFrom('$(LEVEL)', '$$', 'a\nb', '\u00e9'), fc.string({ maxLength: 8 }));
const objectName = fc.oneof({ weight: 15, arbitrary: fc.constantFrom('one', 'two') }, { weight: 1, arbitrary: fc.constant('none') });

/** Items with paths that differ, as the API server wants them. */
const items = fc.option(
  fc
    .uniqueArray(fc.tuple(key, fc.constantFrom('a', 'b/c', 'b/d', 'e/f/g'), mode), { maxLength: 3, selector: ([, path]) => path })
    .map((entries) => entries.map(([k, path, m]) => ({ key: k, path, mode: m }))),
  { nil: undefined },
);
const downward = fc.record({
  items: fc.uniqueArray(
    fc.record({
      path: fc.constantFrom('labels', 'meta/name', 'uid', 'cpu'),
      mode,
      fieldRef: fc
        .constantFrom('metadata.labels', 'metadata.name', 'metadata.uid', 'metadata.annotations', "metadata.annotations['note']")
        .map((fieldPath) => ({ fieldPath })),
    }),
    { maxLength: 3, selector: ({ path }) => path },
  ),
});
const named = fc.record({ name: objectName, optional, items });
const token = fc.record({
  path: fc.constantFrom('token', 'tokens/x'),
  audience: fc.constantFrom(undefined, 'vault'),
  expirationSeconds: fc.constantFrom(undefined, 3607),
});
const bundle = fc.record({ name: fc.constantFrom('root', 'none'), path: fc.constant('bundle.pem'), optional });
const projection = fc.oneof(
  named.map((secret) => ({ secret })),
  named.map((configMap) => ({ configMap })),
  downward.map((downwardAPI) => ({ downwardAPI })),
  token.map((serviceAccountToken) => ({ serviceAccountToken })),
  bundle.map((clusterTrustBundle) => ({ clusterTrustBundle })),
);

const source: fc.Arbitrary<object> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ secretName: objectName, optional, items, defaultMode: mode }).map((secret) => ({ secret })) },
  { weight: 3, arbitrary: fc.record({ name: objectName, optional, items, defaultMode: mode }).map((configMap) => ({ configMap })) },
  { weight: 2, arbitrary: downward.map((downwardAPI) => ({ downwardAPI })) },
  {
    weight: 3,
    arbitrary: fc.record({ sources: fc.array(projection, { maxLength: 3 }), defaultMode: mode }).map((projected) => ({ projected })),
  },
  {
    weight: 4,
    arbitrary: fc.constantFrom<object[]>(
      { emptyDir: {} },
      { emptyDir: { medium: 'Memory' } },
      { hostPath: { path: '/etc/kubernetes', type: 'Directory' } },
      { image: { reference: 'registry.example.org/tools:1', pullPolicy: 'Always' } },
      { nfs: { server: 'files.example.org', path: '/p' } },
      { persistentVolumeClaim: { claimName: 'local' } },
      { persistentVolumeClaim: { claimName: 'host', readOnly: true } },
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom<object[]>({ persistentVolumeClaim: { claimName: 'disk' } }, { csi: { driver: 'd' } }, { ephemeral: {} }),
  },
);

const selector = fc.record({ name: objectName, key, optional });
const variableSource = fc.oneof(
  selector.map((configMapKeyRef) => ({ configMapKeyRef })),
  selector.map((secretKeyRef) => ({ secretKeyRef })),
  fc
    .constantFrom('metadata.name', 'metadata.uid', 'spec.nodeName', 'status.podIP', "metadata.labels['a']", "metadata.annotations['note']")
    .map((fieldPath) => ({ fieldRef: { fieldPath } })),
  fc.constant({ resourceFieldRef: { resource: 'limits.cpu' } }),
);
const variable: fc.Arbitrary<V1EnvVar> = fc.oneof(
  fc.record({ name: fc.constantFrom('A', 'B', 'LEVEL'), value: text }),
  fc.record({ name: fc.constantFrom('A', 'B', 'LEVEL'), valueFrom: variableSource }) as fc.Arbitrary<V1EnvVar>,
);
const imports = fc.array(
  fc.oneof(
    fc.record({ prefix: fc.constantFrom(undefined, 'P_'), configMapRef: fc.record({ name: objectName, optional }) }),
    fc.record({ prefix: fc.constantFrom(undefined, 'S_'), secretRef: fc.record({ name: objectName, optional }) }),
  ),
  { maxLength: 2 },
);
const probe: fc.Arbitrary<V1Probe> = fc.constantFrom<V1Probe[]>(
  { httpGet: { path: '/livez', port: 'https', scheme: 'HTTPS' } },
  { tcpSocket: { port: 'https' } },
  { grpc: { port: 2379 } },
  { exec: { command: ['true'] } },
);
const partOfContainer = fc.record({
  args: fc.oneof(
    { weight: 9, arbitrary: fc.constantFrom(undefined, ['--at=$(KUBERNETES_SERVICE_HOST)'], ['$(LEVEL)', '$$(DB_SERVICE_HOST)']) },
    { weight: 1, arbitrary: fc.constant(['--db=$(DB_SERVICE_HOST)']) },
  ),
  env: fc.array(variable, { maxLength: 3 }),
  envFrom: imports,
  ports: fc.constantFrom(undefined, [{ name: 'https', containerPort: 6443 }]),
  livenessProbe: fc.option(probe, { nil: undefined }),
  lifecycle: fc.constantFrom(undefined, { preStop: { httpGet: { port: 'https' } } }, { preStop: { sleep: { seconds: 1 } } }),
  securityContext: fc.constantFrom(undefined, { runAsUser: 1000 }, { privileged: true }, { seLinuxOptions: { level: 's0:c1' } }),
  mounts: fc.array(fc.tuple(fc.nat(3), fc.constantFrom('', '', 'b', 'made', '$(LEVEL)', 'ca.crt'), fc.boolean()), { maxLength: 4 }),
});
type Part = typeof partOfContainer extends fc.Arbitrary<infer T> ? T : never;

function containerOf({ mounts, ...fields }: Part, volumes: readonly V1Volume[], more: Partial<V1Container>): V1Container {
  const volumeMounts = mounts.flatMap(([index, sub, nested], i): V1VolumeMount[] => {
    const volume = volumes[index];
    if (volume === undefined) return [];
    // Some within another one.
    const mountPath = nested && i > 0 ? `/m0/inner${i}` : `/m${i}`;
    const subPath = sub === '' || volume.image ? {} : sub.startsWith('$') ? { subPathExpr: sub } : { subPath: sub };
    return [{ name: volume.name, mountPath, ...subPath }];
  });
  return container({ ...fields, volumeMounts, ...more } as Partial<V1Container>);
}

const podParts = fc.record({
  name: fc.constantFrom('proxy-x7k2f', 'proxy.with.dots', `proxy-${'long'.repeat(20)}`),
  sources: fc.array(source, { maxLength: 4 }),
  main: partOfContainer,
  init: partOfContainer,
  restartPolicy: fc.constantFrom(undefined, 'Always'),
  hostNetwork: fc.boolean(),
  securityContext: fc.constantFrom(undefined, { fsGroup: 2000 }, { runAsUser: 1000 }, { runAsUser: 1000, fsGroup: 2000 }),
  more: fc.constantFrom<object[]>(
    {},
    { hostPID: true, hostIPC: true },
    { hostUsers: false },
    { hostAliases: [{ ip: '10.0.0.3', hostnames: ['a'] }], dnsPolicy: 'Default' },
    { ephemeralContainers: [{ name: 'debug', image: 'i' }] },
    { runtimeClassName: 'kata', overhead: { memory: '64Mi' } },
    { hostname: 'own', enableServiceLinks: false },
  ),
});

const UNKNOWN: ObjectState<ApiObject> = { state: 'unknown', detail: 'not read yet' };

/** One key is missing now and then. */
const data = fc
  .tuple(...KEYS.map((k) => fc.tuple(fc.constant(k), text)), fc.option(key, { freq: 1 }))
  .map((entries) => Object.fromEntries((entries.slice(0, -1) as [string, string][]).filter(([k]) => k !== entries.at(-1))));
const objects = fc.record({
  one: data,
  two: data,
  secretOne: data,
  secretTwo: data,
  missing: fc.constantFrom('absent', 'unknown', 'denied'),
  service: fc.oneof(
    { weight: 9, arbitrary: fc.constant<ObjectState<ApiObject>>({ state: 'present', object: SERVICE }) },
    {
      weight: 1,
      arbitrary: fc.constantFrom<ObjectState<ApiObject>[]>({ state: 'absent' }, { state: 'denied', detail: 'HTTP 403' }, UNKNOWN),
    },
  ),
});

export const givenPods: fc.Arbitrary<Given> = fc
  .record({ parts: podParts, objects, secretEnv: fc.constantFrom('refuse' as const, 'inline' as const, 'inline' as const) })
  .map(({ parts, objects: stored, secretEnv }) => {
    const { name, sources, main, init, restartPolicy, more, ...spec } = parts;
    const volumes = sources.map((given, i) => ({ name: `v${i}`, ...given }) as V1Volume);
    const pod = clean<V1Pod>(
      markedPod(
        {
          volumes,
          serviceAccountName: 'sa',
          imagePullSecrets: [{ name: 'registry' }],
          containers: [containerOf(main, volumes, {})],
          initContainers: [containerOf(init, volumes, { name: 'init', ...(restartPolicy && { restartPolicy }) })],
          ...spec,
          ...more,
        } as Partial<NonNullable<V1Pod['spec']>>,
        { name, labels: { a: 'one' }, annotations: { note: `of ${name}` } },
      ),
    );
    const known = new Map<string, ApiObject>([
      [`ConfigMap/${NAMESPACE}/one`, { data: stored.one, binaryData: { blob: '/wA=' } }],
      [`ConfigMap/${NAMESPACE}/two`, { data: stored.two, immutable: true }],
      [`Secret/${NAMESPACE}/one`, { data: secretData(stored.secretOne) }],
      [`Secret/${NAMESPACE}/two`, { data: secretData(stored.secretTwo) }],
      [`PersistentVolumeClaim/${NAMESPACE}/local`, claim({ local: { path: '/mnt/disks/1' } })],
      [`PersistentVolumeClaim/${NAMESPACE}/host`, claim({ hostPath: { path: '/srv' } })],
      [`PersistentVolumeClaim/${NAMESPACE}/disk`, claim({ csi: { driver: 'd', volumeHandle: 'h' } })],
    ]);
    return {
      pod,
      lookup: lookupIn(known, stored.missing, stored.service),
      nothingLookup: () => UNKNOWN,
      reversedLookup: lookupIn(reversed(known), stored.missing, stored.service),
      secretEnv,
    };
  });

function secretData(values: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([k, value]) => [k, Buffer.from(`${SECRET_MARK}${value}`).toString('base64')]));
}

const claim = (volume: object): ApiObject => ({
  claim: { spec: { volumeName: 'pv' } },
  volume: { state: 'present', object: { spec: volume } },
});

function lookupIn(known: ReadonlyMap<string, ApiObject>, missing: string, service: ObjectState<ApiObject>): ObjectLookup {
  return (ref): ObjectState<ApiObject> => {
    if (ref.kind === 'Token')
      return {
        state: 'present',
        object: { token: `${SECRET_MARK}.${ref.audience}`, renewAt: '2026-11-21T10:00:00Z', expiresAt: '2026-11-21T11:00:00Z' },
      };
    if (ref.kind === 'ClusterTrustBundle' && ref.name === 'root')
      return { state: 'present', object: [{ spec: { trustBundle: '-----BEGIN CERTIFICATE-----\nQQ==\n-----END CERTIFICATE-----\n' } }] };
    const object = known.get(`${ref.kind}/${ref.namespace}/${ref.name}`);
    if (object !== undefined) return { state: 'present', object };
    if (ref.kind === 'Service') return service;
    if (missing === 'absent') return { state: 'absent' };
    return missing === 'denied' ? { state: 'denied', detail: 'HTTP 403' } : UNKNOWN;
  };
}

function reversed(known: ReadonlyMap<string, ApiObject>): Map<string, ApiObject> {
  return new Map([...known].reverse().map(([k, object]) => [k, withReversedKeys(object)]));
}

/** The same value with the members of every object the other way round. */
export function withReversedKeys<T>(value: T): T {
  if (Array.isArray(value)) return value.map(withReversedKeys) as T;
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).reverse();
  return Object.fromEntries(entries.map(([k, member]) => [k, withReversedKeys(member)])) as T;
}

/** As it would come from JSON: without members that are undefined. */
function clean<T>(value: unknown): T {
  return JSON.parse(JSON.stringify(value)) as T;
}
