import { describe, expect, test } from 'vitest';
import type { Digest } from '../../src/checkpoint/model.ts';
import type { Reason } from '../../src/checkpoint/verdict.ts';
import { type Finding, fatal, warning } from '../../src/inspect/finding.ts';
import { conditionOf } from '../../src/report/condition.ts';
import {
  ASK_AGAIN,
  ASK_EVERY,
  type Asking,
  asked,
  isTimeToAsk,
  NOT_BEFORE,
  noticed,
  type Outlook,
  outlookOf,
  rebootGets,
  SETTLED,
} from '../../src/report/outlook.ts';
import type { WorkloadStatus } from '../../src/status.ts';

const AT = '2026-01-01T00:00:00.000Z';
const A = 'kube-system/DaemonSet/a';
const B = 'kube-system/DaemonSet/b';

const generation = (digest = 'd', number = 1) => ({ generation: number, digest: digest as Digest });
const workload = (reason: Reason, more: Partial<WorkloadStatus> = {}): WorkloadStatus => ({
  namespace: 'kube-system',
  kind: 'DaemonSet',
  name: 'x',
  reason,
  message: '',
  since: AT,
  ...more,
});
const proven = (digest = 'd', number = 1) =>
  workload('Protected', { newest: generation(digest, number), proven: { ...generation(digest, number), at: AT } });
const saved = workload('Saved', { newest: generation() });

const document = (node: readonly unknown[], workloads: Readonly<Record<string, readonly unknown[]>> = {}): string =>
  JSON.stringify({
    version: 2,
    verdict: 'recovers',
    node: { findings: node },
    workloads: Object.entries(workloads).map(([name, findings]) => ({ workload: name, findings })),
  });

function outlook(node: readonly Finding[], workloads: Readonly<Record<string, readonly Finding[]>> = {}): Outlook {
  const found = outlookOf(document(node, workloads));
  if (found === undefined) throw new Error('not usable');
  return found;
}

const NOBODY = fatal('NobodyActivates', 'nothing would activate the copies', 'Run install-host.');
const PATH_MISSING = fatal('HostPathMissing', '/etc/keys does not exist', 'Put back what was there.');
const IMAGE_MISSING = warning('ImageMissing', 'the image i:1 is not on the node', 'Pull it.');
const REFUSED = warning('Refused', 'a volume that cannot be copied', 'Change the pod.');

describe('the condition of a node where everything is proven', () => {
  const condition = (of: Outlook | undefined, workloads: Record<string, WorkloadStatus> = { [A]: proven(), [B]: proven() }) =>
    conditionOf({ disk: 'ok', workloads }, of);

  test('says so before inspect has been heard, and when it sees nothing', () => {
    const own = { status: 'True', reason: 'AllProven', message: `proven: ${A}, ${B}` };
    expect(condition(undefined)).toEqual(own);
    expect(condition(outlook([], { [A]: [], [B]: [] }))).toEqual(own);
  });

  test('is False for what keeps the node down, said once although it stands with each workload', () => {
    expect(condition(outlook([NOBODY, IMAGE_MISSING], { [A]: [NOBODY], [B]: [NOBODY] }))).toEqual({
      status: 'False',
      reason: 'NobodyActivates',
      message: 'does not recover: nothing would activate the copies (NobodyActivates)',
    });
  });

  test('is False for what keeps one workload down, with every code and a sentence for each', () => {
    expect(condition(outlook([NOBODY], { [A]: [NOBODY, PATH_MISSING], [B]: [PATH_MISSING, IMAGE_MISSING] }))).toEqual({
      status: 'False',
      reason: 'NobodyActivates,HostPathMissing',
      message: `does not recover: nothing would activate the copies (NobodyActivates); ${A}: /etc/keys does not exist (HostPathMissing); ${B}: /etc/keys does not exist (HostPathMissing)`,
    });
  });

  test('is True with warnings', () => {
    expect(condition(outlook([], { [A]: [IMAGE_MISSING] }))).toEqual({
      status: 'True',
      reason: 'RecoversWithWarnings',
      message: `recovers with warnings: ${A}: the image i:1 is not on the node (ImageMissing)`,
    });
  });

  test('goes by the daemon in what it knows itself and sooner', () => {
    const stale = outlook([warning('NoLeader', 'nobody', '')], {
      [A]: [fatal('NothingStored', 'no copy', ''), warning('NotProven', 'never', '')],
      [B]: [REFUSED],
    });
    expect(condition(stale)).toMatchObject({ status: 'True', reason: 'AllProven' });
    const refused = { [A]: proven(), [B]: { ...proven(), reason: 'Refused' as const } };
    expect(condition(stale, refused)).toMatchObject({ status: 'True', reason: 'ProvenButRefused' });
    expect(condition(outlook([], { [A]: [IMAGE_MISSING], [B]: [REFUSED] }), refused)).toEqual({
      status: 'True',
      reason: 'RecoversWithWarnings',
      message: `recovers with warnings: with an older copy, because none can be made now: ${B} (Refused); ${A}: the image i:1 is not on the node (ImageMissing)`,
    });
  });

  test('needs nothing of a workload that is no more', () => {
    expect(condition(outlook([], { [A]: [PATH_MISSING] }), { [B]: proven() })).toMatchObject({ status: 'True', reason: 'AllProven' });
  });
});

describe('the condition of a node where not everything is proven', () => {
  test('is False for both reasons', () => {
    expect(conditionOf({ disk: 'ok', workloads: { [A]: saved } }, outlook([NOBODY]))).toEqual({
      status: 'False',
      reason: 'NotProven,NobodyActivates',
      message: `does not recover: with a copy that is not proven: ${A} (Saved); nothing would activate the copies (NobodyActivates)`,
    });
  });

  test('stays what it is with warnings, and Unknown while the store cannot be read', () => {
    const workloads = { [A]: saved };
    expect(conditionOf({ disk: 'ok', workloads }, outlook([IMAGE_MISSING]))).toEqual(conditionOf({ disk: 'ok', workloads }));
    expect(conditionOf({ disk: 'unknown', workloads }, outlook([NOBODY]))).toMatchObject({ status: 'Unknown', reason: 'StoreUnreadable' });
  });
});

test('the message is bounded, and says how much is left out', () => {
  const long = (i: number) => fatal('HostPathMissing', `${i} ${'x'.repeat(5_000)}`, '');
  const { message, reason } = conditionOf(
    { disk: 'ok', workloads: { [A]: proven() } },
    outlook([], { [A]: Array.from({ length: 50 }, (_, i) => long(i)) }),
  );
  expect(reason).toBe('HostPathMissing');
  expect(message.length).toBeLessThan(1_100);
  expect(message).toMatch(/; and 47 more \(checkpointer inspect\)$/);
  const names = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`${A}${'y'.repeat(200)}${i}`, saved]));
  expect(conditionOf({ disk: 'ok', workloads: names }, outlook([NOBODY])).message.length).toBeLessThan(1_100);
});

describe('what is no document of inspect says nothing, as a whole', () => {
  const finding = { code: 'HostPathMissing', level: 'fatal', message: 'm' };
  test.each<[string, string]>([
    ['nothing', ''],
    ['half of one', document([finding]).slice(0, -5)],
    ['null', 'null'],
    ['another version', document([finding]).replace('"version":2', '"version":3')],
    ['no workloads', JSON.stringify({ version: 2, node: { findings: [] } })],
    ['no findings of the node', JSON.stringify({ version: 2, node: {}, workloads: [] })],
    ['a workload without a name', JSON.stringify({ version: 2, node: { findings: [] }, workloads: [{ findings: [] }] })],
    ['a workload without findings', JSON.stringify({ version: 2, node: { findings: [] }, workloads: [{ workload: A }] })],
    ['a level that is not known', document([finding, { ...finding, level: 'odd' }])],
    ['a code that is a sentence', document([{ ...finding, code: 'no code' }])],
    ['a finding that is null', document([finding], { [A]: [null] })],
  ])('%s', (_, text) => {
    expect(outlookOf(text)).toBeUndefined();
  });
});

describe('inspect is asked', () => {
  const gets = rebootGets({ workloads: { [A]: proven() } });
  const began = noticed(undefined, gets, 1_000);
  const fine = outlook([]);
  /** The first moment at which it is time. */
  function due(asking: Asking, of: Outlook | undefined): number {
    let at = 0;
    while (!isTimeToAsk(asking, of, at)) at += 1_000;
    return at;
  }

  test('first when the leader is a minute old, whatever changes until then', () => {
    expect(due(began, undefined)).toBe(1_000 + NOT_BEFORE);
    expect(due(noticed(began, 'other', 5_000), undefined)).toBe(1_000 + NOT_BEFORE);
  });

  test('every half hour then, also when it did not answer; sooner while something keeps the node down', () => {
    const once = asked(began, 100_000);
    expect(due(once, fine)).toBe(100_000 + ASK_EVERY);
    expect(due(once, outlook([IMAGE_MISSING]))).toBe(100_000 + ASK_EVERY);
    expect(due(once, undefined)).toBe(100_000 + ASK_EVERY);
    expect(due(once, outlook([NOBODY]))).toBe(100_000 + ASK_AGAIN);
  });

  test('a minute after the last of several changes of what a reboot gets, once', () => {
    const once = asked(began, 100_000);
    const changed = noticed(noticed(once, 'other', 200_000), 'third', 220_000);
    expect(due(noticed(changed, 'third', 250_000), fine)).toBe(220_000 + SETTLED);
    expect(due(asked(changed, 280_000), fine)).toBe(280_000 + ASK_EVERY);
  });

  test('not for newer tokens of the same copy, nor for one that is stored and no reboot gets', () => {
    const newer = { ...proven('d', 2) };
    expect(rebootGets({ workloads: { [A]: newer } })).toBe(gets);
    expect(rebootGets({ workloads: { [A]: { ...proven(), newest: generation('e', 2) } } })).toBe(gets);
    expect(rebootGets({ workloads: { [A]: proven('e', 2) } })).not.toBe(gets);
    expect(rebootGets({ workloads: { [A]: proven(), [B]: saved } })).not.toBe(gets);
    expect(rebootGets({ workloads: { [A]: saved } })).not.toBe(gets);
  });
});
