import { posix } from 'node:path';
import type { V1ConfigMap, V1Container, V1KeyToPath, V1Pod, V1Secret, V1Volume } from '@kubernetes/client-node';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { makeCopy } from '../../src/checkpoint/copy.ts';
import { GENERATION_DIR } from '../../src/checkpoint/copy-types.ts';
import { container, lookupIn, markedPod, type Objects, REFUSE } from '../support/marked-pods.ts';
import { SEED } from '../support/seed.ts';

/** In every Secret's value here, so that it can be searched for. */
const MARK = 'do-not-tell';

const names = fc.constantFrom('one', 'two', 'three');
const keys = fc.constantFrom('a', 'b.crt', 'C_D', '..e', '../f', '1');
const paths = fc.oneof(
  fc.constantFrom('a', 'a/b', './c', 'd//e', '..', '../f', '/g', '..data/h', 'i/../j', ''),
  fc.string({ maxLength: 12 }),
);
const optional = fc.option(fc.boolean(), { nil: undefined });

const dataOf = (value: fc.Arbitrary<string>) => fc.dictionary(keys, value, { maxKeys: 4 });
const secrets: fc.Arbitrary<V1Secret> = dataOf(fc.string().map((text) => Buffer.from(`${MARK}${text}`).toString('base64'))).map((data) => ({
  data,
}));
const configMaps: fc.Arbitrary<V1ConfigMap> = fc.record({
  data: dataOf(fc.string({ unit: 'binary' })),
  binaryData: dataOf(fc.base64String()),
});

function stateOf(object: fc.Arbitrary<V1Secret | V1ConfigMap>): fc.Arbitrary<Objects[string]> {
  return fc.oneof({ weight: 8, arbitrary: object }, { weight: 1, arbitrary: fc.constantFrom('absent' as const, 'unknown' as const) });
}

const objects: fc.Arbitrary<Objects> = fc
  .tuple(
    ...['one', 'two', 'three'].flatMap((name) => [
      fc.tuple(fc.constant(`Secret/${name}`), stateOf(secrets)),
      fc.tuple(fc.constant(`ConfigMap/${name}`), stateOf(configMaps)),
    ]),
  )
  .map((entries) => Object.fromEntries(entries));

const items: fc.Arbitrary<V1KeyToPath[]> = fc.array(
  fc.record({ key: keys, path: paths, mode: fc.constantFrom(0o400, 0o644, 0o1777) }, { requiredKeys: ['key', 'path'] }),
  { maxLength: 2 },
);
const fields = fc.constantFrom(
  'metadata.name',
  'metadata.labels',
  "metadata.annotations['note']",
  'spec.nodeName',
  'status.podIP',
  'spec.serviceAccountName',
);
const secretSource = fc.record({ secretName: names, optional, items });
const configMapSource = fc.record({ name: names, optional, items });
const downward = fc.record({ items: fc.array(fc.record({ path: paths, fieldRef: fc.record({ fieldPath: fields }) }), { maxLength: 2 }) });
const projection = fc.oneof(
  fc.record({ secret: configMapSource }),
  fc.record({ configMap: configMapSource }),
  fc.record({ downwardAPI: downward }),
  fc.constant({ serviceAccountToken: { path: 'token' } }),
);
const volumeSource = fc.oneof(
  fc.record({ secret: secretSource }),
  fc.record({ configMap: configMapSource }),
  fc.record({ downwardAPI: downward }),
  fc.record({ projected: fc.record({ sources: fc.array(projection, { maxLength: 3 }) }) }),
  fc.constantFrom(
    { emptyDir: {} },
    { hostPath: { path: '/etc/kubernetes' } },
    { persistentVolumeClaim: { claimName: 'c' } },
    { csi: { driver: 'd' } },
  ),
);
const volumes: fc.Arbitrary<V1Volume[]> = fc
  .array(volumeSource, { maxLength: 4 })
  .map((sources) => sources.map((source, i) => clean<V1Volume>({ name: `v${i}`, ...source })));

const selector = fc.record({ name: names, key: keys, optional });
const variables = fc.array(
  fc.oneof(
    fc.record({ name: fc.constantFrom('A', 'B'), value: fc.string() }),
    fc.record({ name: fc.constantFrom('A', 'B'), valueFrom: fc.record({ configMapKeyRef: selector }) }),
    fc.record({ name: fc.constantFrom('A', 'B'), valueFrom: fc.record({ fieldRef: fc.record({ fieldPath: fields }) }) }),
    fc.record({ name: fc.constantFrom('A', 'B'), valueFrom: fc.record({ secretKeyRef: selector }) }),
  ),
  { maxLength: 3 },
);
const imports = fc.array(
  fc.oneof(fc.record({ configMapRef: configMapSource }), fc.record({ prefix: fc.constantFrom('P_', ''), secretRef: configMapSource })),
  { maxLength: 2 },
);
const containers: fc.Arbitrary<V1Container> = fc
  .record({ env: variables, envFrom: imports })
  .map((given) => clean<V1Container>({ ...container(), ...given }));

const pods: fc.Arbitrary<V1Pod> = fc
  .record({
    volumes,
    first: containers,
    init: containers,
    hostNetwork: fc.boolean(),
    fsGroup: fc.option(fc.constantFrom(1000, 65534), { nil: undefined }),
  })
  .map(({ volumes, first, init, hostNetwork, fsGroup }) =>
    clean<V1Pod>(
      markedPod({
        volumes,
        hostNetwork,
        serviceAccountName: 'sa',
        imagePullSecrets: [{ name: 'registry' }],
        containers: [{ ...first, volumeMounts: volumes.map(({ name }) => ({ name, mountPath: `/${name}` })) }],
        initContainers: [{ ...init, name: 'init' }],
        ...(fsGroup !== undefined && { securityContext: { fsGroup } }),
      }),
    ),
  );

/** As it would come from JSON: without members that are undefined. */
function clean<T>(value: unknown): T {
  return JSON.parse(JSON.stringify(value)) as T;
}

/** The same value with the members of every object the other way round. */
function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, member]) => [key, reversed(member)]),
  );
}

/** Every key and every string anywhere in a value. */
function* wordsIn(value: unknown): Generator<string> {
  if (typeof value === 'string') yield value;
  if (typeof value !== 'object' || value === null) return;
  for (const [key, member] of Object.entries(value)) {
    if (!Array.isArray(value)) yield key;
    yield* wordsIn(member);
  }
}

/** Whatever makes a reference to an API object in the core API's Pod, wherever it stands. */
const REFERRING =
  /^(secret|secretName|secretRef|secretKeyRef|configMap|configMapRef|configMapKeyRef|projected|serviceAccount|serviceAccountName|serviceAccountToken|imagePullSecrets|persistentVolumeClaim|csi|ephemeral|clusterTrustBundle|podCertificate|resourceClaims|claims|nodePublishSecretRef|runtimeClassName|downwardAPI|envFrom)$/;

const given = fc.record({ pod: pods, objects });
const RUNS = { numRuns: 400, seed: SEED };

describe('whatever the pod and its objects', () => {
  it('a copy refers to no object of the API', () => {
    let copies = 0;
    fc.assert(
      fc.property(given, ({ pod, objects }) => {
        const outcome = makeCopy(pod, lookupIn(objects), REFUSE);
        if (outcome.kind !== 'copy') return;
        copies++;
        expect([...wordsIn({ ...outcome.copy.pod, metadata: {} })].filter((word) => REFERRING.test(word))).toEqual([]);
      }),
      RUNS,
    );
    expect(copies).toBeGreaterThan(2);
  });

  it('a Secret’s value is neither in the copy’s pod nor in the reasons against it', () => {
    fc.assert(
      fc.property(given, ({ pod, objects }) => {
        const outcome = makeCopy(pod, lookupIn(objects), REFUSE);
        const told = JSON.stringify(outcome.kind === 'copy' ? outcome.copy.pod : outcome);
        expect(told).not.toContain(MARK);
        expect(told).not.toContain(Buffer.from(MARK).toString('base64').slice(0, 12));
      }),
      RUNS,
    );
  });

  it('every file and directory stays inside its volume, parents come first, and no path is there twice', () => {
    fc.assert(
      fc.property(given, ({ pod, objects }) => {
        const outcome = makeCopy(pod, lookupIn(objects), REFUSE);
        if (outcome.kind !== 'copy') return;
        const { files, directories } = outcome.copy;
        const seen = new Set<string>(['.']);
        for (const { path } of [...directories, ...files]) {
          expect(posix.normalize(path)).toBe(path);
          expect(path).toMatch(/^v[0-9](\/|$)/);
          expect(seen).toContain(posix.dirname(path));
          expect(seen).not.toContain(path);
          seen.add(path);
        }
        for (const { mode } of files) expect(mode & ~0o777).toBe(0);
        const mounted = outcome.copy.pod.spec?.volumes?.filter((v) => v.hostPath?.path.startsWith(GENERATION_DIR)).map((v) => v.name);
        expect(directories.map((d) => d.path).filter((path) => !path.includes('/'))).toEqual(mounted?.sort());
      }),
      RUNS,
    );
  });

  it('the order of keys changes nothing', () => {
    fc.assert(
      fc.property(given, ({ pod, objects }) => {
        const one = makeCopy(pod, lookupIn(objects), REFUSE);
        const other = makeCopy(reversed(pod) as V1Pod, lookupIn(reversed(objects) as Objects), REFUSE);
        expect(JSON.stringify(other)).toBe(JSON.stringify(one));
      }),
      RUNS,
    );
  });

  it('a copy, marked again, is not copied', () => {
    fc.assert(
      fc.property(given, ({ pod, objects }) => {
        const outcome = makeCopy(pod, lookupIn(objects), REFUSE);
        if (outcome.kind !== 'copy') return;
        const again = makeCopy(outcome.copy.pod, lookupIn(objects), REFUSE);
        expect(again.kind === 'refused' && again.refusals[0]?.code).toBe('CopyOfCopy');
      }),
      RUNS,
    );
  });
});
