/** What becomes of retired workloads: kept, brought back when nothing else can bring the API server up, deleted on the word of one that answers. */
import { describe, expect, test } from 'vitest';
import { decide } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY } from '../../src/checkpoint/memory.ts';
import type { Action, ApiState, Retired } from '../../src/checkpoint/model.ts';
import type { Workload } from '../../src/checkpoint/workload.ts';
import { APISERVER, CONTROLLERS, generation, NOW, observation, POLICY, SCHEDULER, stored, workload } from '../support/observations.ts';

const HOUR = 3_600_000;
const UNREACHABLE: ApiState = { state: 'unreachable', detail: 'connection refused' };

const retired = (of: Workload, servesApi: boolean, age = HOUR, entry = `${of.name}.1`): Retired => ({
  workload: of,
  entry,
  age,
  servesApi,
});
const present = (of: Workload, servesApi: boolean) =>
  workload(of, { stored: stored([generation(1, 'x', { servesApi, handBack: 'exclusive' })], { newest: 1, proven: 1 }) });

interface Given {
  readonly api: ApiState;
  readonly retired: readonly Retired[];
  readonly staticApiServer?: string;
  readonly there?: readonly ReturnType<typeof workload>[];
  /** Milliseconds. */
  readonly unreachableFor?: number;
  readonly coldBoot?: boolean;
}

function actions({ api, retired, there = [], unreachableFor, coldBoot = false, staticApiServer }: Given): Action[] {
  const memory = unreachableFor === undefined ? EMPTY_MEMORY : { ...EMPTY_MEMORY, apiUnreachableSince: NOW - unreachableFor };
  const seen = observation(there, {
    api,
    retired,
    ...(staticApiServer === undefined ? {} : { staticApiServer }),
    ...(coldBoot ? { settledBootId: 'boot-0' } : {}),
  });
  return decide(memory, seen, { ...POLICY, retain: 24 * HOUR }).actions.filter(({ kind }) => kind === 'revive' || kind === 'discard');
}

describe('a retired API server', () => {
  const all = [retired(APISERVER, true), retired(SCHEDULER, false)];

  test('comes back, and what was retired with it, when the API server is unreachable for --activate-after', () => {
    expect(actions({ api: UNREACHABLE, retired: all, unreachableFor: 3_000 })).toEqual([
      { kind: 'revive', workload: APISERVER, entry: 'kube-apiserver.1' },
      { kind: 'revive', workload: SCHEDULER, entry: 'kube-scheduler.1' },
    ]);
    expect(actions({ api: UNREACHABLE, retired: all, unreachableFor: 2_999 })).toEqual([]);
  });

  test('comes back at once after a boot, and the boot is not settled before it is activated', () => {
    expect(actions({ api: UNREACHABLE, retired: all, coldBoot: true })).toHaveLength(2);
    const seen = observation([], { api: UNREACHABLE, retired: all, settledBootId: 'boot-0' });
    expect(decide(EMPTY_MEMORY, seen, POLICY).actions.map(({ kind }) => kind)).toEqual(['revive', 'revive']);
  });

  test('stays where it is when its owner had moved to other nodes', () => {
    expect(actions({ api: UNREACHABLE, retired: [{ ...retired(APISERVER, true), replaced: true }], unreachableFor: HOUR })).toEqual([]);
  });

  test.each<ApiState>([{ state: 'ok' }, { state: 'unknown' }, { state: 'denied', detail: '401' }])(
    'stays where it is when the API server is %j',
    (api) => {
      expect(actions({ api, retired: all, unreachableFor: HOUR })).toEqual([]);
    },
  );

  test('stays where it is when it is there again, or another API server is', () => {
    expect(actions({ api: UNREACHABLE, retired: all, there: [present(APISERVER, true)], unreachableFor: HOUR })).toEqual([]);
    expect(actions({ api: UNREACHABLE, retired: all, there: [present(CONTROLLERS, true)], unreachableFor: HOUR })).toEqual([]);
  });

  test('stays away where somebody else has a static pod for it, also after a boot', () => {
    for (const coldBoot of [false, true])
      expect(actions({ api: UNREACHABLE, retired: all, unreachableFor: HOUR, coldBoot, staticApiServer: 'kube-apiserver.yaml' })).toEqual(
        [],
      );
  });

  test('brings back only what is not there again, and of each workload what was retired last', () => {
    const twice = [...all, retired(APISERVER, true, 1_000, 'kube-apiserver.2')];
    expect(actions({ api: UNREACHABLE, retired: twice, there: [present(SCHEDULER, false)], unreachableFor: HOUR })).toEqual([
      { kind: 'revive', workload: APISERVER, entry: 'kube-apiserver.2' },
    ]);
  });
});

describe('a retired workload', () => {
  test('that does not serve the API does not come back by itself: somebody deleted it', () => {
    expect(actions({ api: UNREACHABLE, retired: [retired(SCHEDULER, false)], unreachableFor: HOUR })).toEqual([]);
  });

  test('is deleted after --retain', () => {
    expect(
      actions({ api: { state: 'ok' }, retired: [retired(SCHEDULER, false, 24 * HOUR), retired(APISERVER, true, 24 * HOUR - 1)] }),
    ).toEqual([{ kind: 'discard', workload: SCHEDULER, entry: 'kube-scheduler.1' }]);
  });

  test.each<ApiState>([{ state: 'unknown' }, UNREACHABLE, { state: 'denied', detail: '401' }])(
    'is not deleted while the API server is %j, however old it looks',
    (api) => {
      expect(actions({ api, retired: [retired(SCHEDULER, false, 1_000 * HOUR)], unreachableFor: 0 })).toEqual([]);
    },
  );
});

describe('retention', () => {
  const traits = { servesApi: false, handBack: 'exclusive' } as const;
  const generations = [1, 2, 3, 4, 5].map((number) => generation(number, String(number), traits));
  const pruned = (of: Parameters<typeof stored>[1], damagedPointers: readonly string[] = []) => {
    const seen = workload(SCHEDULER, {
      parent: {
        state: 'present',
        pod: {
          name: 'p',
          uid: 'u',
          terminating: false,
          ready: false,
          restarts: 0,
          copy: { kind: 'copy', copy: { digest: generations[4]?.digest ?? ('' as never), pod: {}, files: [], directories: [], traits } },
        },
      },
      stored: { ...stored(generations, of), damagedPointers },
    });
    return decide(EMPTY_MEMORY, observation([seen]), POLICY).actions.flatMap((action) =>
      action.kind === 'prune' ? action.generations : [],
    );
  };

  test('keeps the proven generation, the one proven before it, and the newest', () => {
    expect(pruned({ newest: 5, proven: 3, previous: 2 })).toEqual([1, 4]);
  });

  test('keeps the three latest while none is known to be proven', () => {
    expect(pruned({ newest: 5 })).toEqual([1, 2]);
  });

  test('deletes nothing while a pointer cannot be read', () => {
    expect(pruned({ newest: 5, proven: 2, previous: 2 }, ['proven'])).toEqual([]);
  });
});
