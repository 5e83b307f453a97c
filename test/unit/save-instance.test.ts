import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Copy, Instance } from '../../src/checkpoint/copy-types.ts';
import { decide } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY } from '../../src/checkpoint/memory.ts';
import type { StoredGeneration } from '../../src/checkpoint/model.ts';
import { objectKey, tokenRef } from '../../src/checkpoint/references.ts';
import { prepareStore } from '../../src/checkpoint/store/layout.ts';
import { readStore } from '../../src/checkpoint/store/read.ts';
import { readStoredTokens } from '../../src/checkpoint/store/tokens.ts';
import { saveGeneration } from '../../src/checkpoint/store/write.ts';
import { workloadKey, workloadOf } from '../../src/checkpoint/workload.ts';
import { markedPod } from '../support/marked-pods.ts';
import { copyOf, digest, generation, observation, POLICY, parent, SCHEDULER, stored, workload } from '../support/observations.ts';

const TRAITS = { servesApi: false, handBack: 'exclusive' } as const;
const instance = (of: string): Instance => ({ digest: digest(of), tokens: [] });
const copy = (of: string): Copy => ({ ...copyOf('spec', TRAITS), instance: instance(of) });
const kept = (number: number, of: string, what = 'spec'): StoredGeneration => ({
  ...generation(number, what, TRAITS),
  instance: instance(of),
});

/** What is to be done about the parent with this copy. */
function actions(of: Copy, ...[generations, pointers]: Parameters<typeof stored>) {
  const seen = workload(SCHEDULER, {
    parent: { state: 'present', pod: parent({ kind: 'copy', copy: of }) },
    stored: stored(generations, pointers),
  });
  return decide(EMPTY_MEMORY, observation([seen]), POLICY).actions.map((action) =>
    'generation' in action ? `${action.kind} ${action.generation}` : action.kind,
  );
}

describe('a copy that only differs in what belongs to its pod', () => {
  it('is stored anew', () => {
    expect(actions(copy('second'), [kept(1, 'first')], { newest: 1, proven: 1 })).toEqual(['save']);
  });

  it('takes over the proof at once: a reboot must not get tokens of a pod that is gone', () => {
    expect(actions(copy('second'), [kept(1, 'first'), kept(2, 'second')], { newest: 2, proven: 1 })).toEqual(['renew 2']);
  });

  it('is not stored again when it is the same', () => {
    expect(actions(copy('first'), [kept(1, 'first')], { newest: 1, proven: 1 })).toEqual([]);
  });

  it('takes over nothing from another spec', () => {
    const generations = [kept(1, 'first', 'other'), kept(2, 'second')];
    expect(actions(copy('second'), generations, { newest: 2, proven: 1 })).toEqual([]);
    expect(decide(EMPTY_MEMORY, observation([]), POLICY).actions).toEqual([]);
  });

  it('goes back to the proven generation only when that has the same of its pod', () => {
    const generations = [kept(1, 'first'), kept(2, 'first', 'other')];
    expect(actions(copy('first'), generations, { newest: 2, proven: 1 })).toEqual(['repoint 1']);
    expect(actions(copy('second'), generations, { newest: 2, proven: 1 })).toEqual(['save']);
  });
});

describe('tokens in the store', () => {
  it('are read back by those who would ask for them', async () => {
    const root = await mkdtemp(join(tmpdir(), 'store-'));
    onTestFinished(() => rm(root, { recursive: true, force: true }));
    await prepareStore(root);
    const pod = markedPod({ serviceAccountName: 'controllers' });
    const ref = tokenRef(pod, { path: 'token', audience: 'vault', expirationSeconds: 7200 });
    const times = { renewAt: '2026-11-21T10:00:00.000Z', expiresAt: '2026-11-21T11:00:00.000Z' };
    const about = {
      serviceAccount: ref.name,
      audience: ref.audience,
      expirationSeconds: ref.expirationSeconds,
      podUid: ref.pod.uid,
      ...times,
    };
    const file = {
      path: 'v/token',
      bytes: Buffer.from('the token'),
      mode: 0o600,
      uid: process.getuid?.() ?? 0,
      gid: process.getgid?.() ?? 0,
    };
    const made: Copy = {
      ...copyOf('spec', TRAITS),
      files: [file],
      directories: [{ path: 'v', mode: 0o755, uid: file.uid, gid: file.gid }],
      instance: { digest: digest('i'), tokens: [{ path: 'v/token', ...about }] },
    };
    await saveGeneration(root, workloadOf(pod), made, { parent: ref.pod, createdAt: times.renewAt });
    const store = await readStore(root);
    expect(store.workloads.get(workloadKey(workloadOf(pod)))?.stored.generations.get(1)?.instance).toEqual(made.instance);
    expect(await readStoredTokens(root, store)).toEqual(new Map([[objectKey(ref), { token: 'the token', ...times }]]));
  });
});
