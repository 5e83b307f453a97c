import { posix } from 'node:path';
import type { V1Container, V1Pod } from '@kubernetes/client-node';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { warningsOf } from '../../src/checkpoint/copy/warnings.ts';
import { explainCopy, makeCopy } from '../../src/checkpoint/copy.ts';
import { type Copy, GENERATION_DIR, type Warning } from '../../src/checkpoint/copy-types.ts';
import { manifestBytes, materialize } from '../../src/checkpoint/materialize.ts';
import { violations } from '../../src/checkpoint/static-pod-rules.ts';
import { SEED } from '../support/seed.ts';
import { givenPods, SECRET_MARK, withReversedKeys } from '../support/valid-pods.ts';

const RUNS = { numRuns: 10_000, seed: SEED };

/** Every key, wherever it stands, by which a Pod of the core API refers to an object. */
const REFERRING = new Set(
  (
    'secret secretName secretRef secretKeyRef configMap configMapRef configMapKeyRef projected serviceAccount serviceAccountName serviceAccountToken ' +
    'imagePullSecrets persistentVolumeClaim csi ephemeral clusterTrustBundle podCertificate resourceClaims claims nodePublishSecretRef runtimeClassName ' +
    'downwardAPI envFrom ephemeralContainers'
  ).split(' '),
);

function* keysIn(value: unknown): Generator<string> {
  if (typeof value !== 'object' || value === null) return;
  for (const [key, member] of Object.entries(value)) {
    if (!Array.isArray(value)) yield key;
    yield* keysIn(member);
  }
}

const containersOf = (pod: V1Pod): V1Container[] => [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])];

/** What a mount of the copy leads to: a path of the generation that is there or is made by the kubelet, or a volume that needs nothing. */
function expectMountsToResolve({ pod, files, directories }: Copy, parent: V1Pod): void {
  const inside = new Set([...files, ...directories].map(({ path }) => path));
  const onlyDirectories = new Set(directories.map(({ path }) => path));
  containersOf(pod).forEach((container, i) => {
    expect(container.volumeMounts?.map(({ mountPath }) => mountPath)).toEqual(
      containersOf(parent)[i]?.volumeMounts?.map(({ mountPath }) => mountPath),
    );
    for (const mount of container.volumeMounts ?? []) {
      const volume = pod.spec?.volumes?.find(({ name }) => name === mount.name);
      expect(volume).toBeDefined();
      const directory = volume?.hostPath?.path;
      if (directory?.startsWith(GENERATION_DIR) !== true) continue;
      const root = directory.slice(`${GENERATION_DIR}/files/`.length);
      expect(onlyDirectories).toContain(root);
      expect(mount.readOnly).toBe(true);
      // What a subPathExpr stands for: copy-sub-paths.test.ts.
      if (mount.subPath) expect(inside).toContain(posix.join(root, mount.subPath));
      for (const other of container.volumeMounts ?? []) {
        const below = posix.relative(mount.mountPath, other.mountPath);
        if (other === mount || below.startsWith('..') || mount.subPath || mount.subPathExpr) continue;
        expect(inside).toContain(posix.join(root, below));
      }
    }
  });
}

const byCodeAndField = (a: Warning, b: Warning): number => (`${a.code} ${a.field}` < `${b.code} ${b.field}` ? -1 : 1);

describe('whatever a valid pod refers to', () => {
  const counts = { copy: 0, refused: 0, waiting: 0 };
  afterAll(() => {
    const { copy, refused, waiting } = counts;
    console.log(`generated pods: ${RUNS.numRuns} with seed ${SEED}: ${copy} copied, ${refused} refused, ${waiting} waiting for objects`);
  });

  it('there is a complete copy, or reasons that name their fields, and nothing of a Secret in either', () => {
    fc.assert(
      fc.property(givenPods, ({ pod, lookup, nothingLookup, reversedLookup, secretEnv }) => {
        const { outcome, changes, warnings } = explainCopy(pod, lookup, { secretEnv });
        counts[outcome.kind] += 1;
        const told = JSON.stringify([changes, warnings, outcome.kind === 'copy' ? [] : outcome]);
        expect(told).not.toContain(SECRET_MARK);
        // The order in which keys stand, or arrive, changes not a byte.
        expect(makeCopy(withReversedKeys(pod), reversedLookup, { secretEnv })).toEqual(outcome);
        // While nothing is known there is no copy: every one has to know where the API server is.
        expect(makeCopy(pod, nothingLookup, { secretEnv }).kind).not.toBe('copy');
        if (outcome.kind === 'refused') {
          for (const { code, field, message } of outcome.refusals) {
            expect([code, field, message]).toEqual([
              expect.stringMatching(/^[A-Z][A-Za-z]+$/),
              expect.stringMatching(/^(spec|metadata)\./),
              expect.stringMatching(/\.$/),
            ]);
            expect(code).not.toBe('KubeletWouldRefuse');
          }
        }
        if (outcome.kind !== 'copy') return;
        const { copy } = outcome;
        expect([...keysIn({ ...copy.pod, metadata: {} })].filter((key) => REFERRING.has(key))).toEqual([]);
        const active = materialize(copy.pod, { generationDir: '/var/lib/pod-checkpointer/x', generation: 1, activation: 1 });
        expect(violations(active, 'master-1')).toEqual([]);
        if (secretEnv === 'refuse') expect(manifestBytes(active).toString('utf8')).not.toContain(SECRET_MARK);
        expectMountsToResolve(copy, pod);
        expect(warningsOf(active)).toEqual(warnings.toSorted(byCodeAndField));
        const again = makeCopy({ ...active, metadata: { ...active.metadata, uid: 'u' } }, lookup, { secretEnv });
        expect(again.kind === 'refused' && again.refusals[0]?.code).toBe('CopyOfCopy');
        // Another pod of the same spec is the same copy, but for what belongs to it.
        const metadata = { ...pod.metadata, uid: 'another', annotations: { ...pod.metadata?.annotations, note: 'of another' } };
        const other = makeCopy({ ...pod, metadata: { ...metadata, name: `${pod.metadata?.name}z` } }, lookup, { secretEnv });
        expect(other.kind === 'copy' && other.copy.digest).toBe(copy.digest);
      }),
      RUNS,
    );
    expect(counts.copy).toBeGreaterThan(RUNS.numRuns / 10);
  }, 120_000);
});
