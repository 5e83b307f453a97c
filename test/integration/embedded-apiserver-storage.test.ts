import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { KubeObject } from '../../src/embedded/apiserver/objects.ts';
import { Storage } from '../../src/embedded/apiserver/storage.ts';
import { until } from '../support/until.ts';

let directory: string;
const opened: Storage[] = [];
beforeEach(() => {
  directory = fs.mkdtempSync(path.join(os.tmpdir(), 'storage-'));
});
afterEach(() => {
  for (const storage of opened.splice(0)) storage.close();
  fs.rmSync(directory, { recursive: true });
});

function open(compactAt = 1_000_000): Storage {
  const storage = new Storage(directory, { compactAt });
  opened.push(storage);
  return storage;
}

function object(name: string, value = ''): KubeObject {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name, labels: { value } } };
}

function names(storage: Storage): string[] {
  return storage.list('').map((item) => item.metadata.name);
}

test('what was put is there for the next process', () => {
  const first = open();
  expect(first.put('a', 0, object('a'))).toBe(1);
  expect(first.put('b', 0, object('b'))).toBe(2);
  expect(first.put('a', 1, undefined)).toBe(3);
  const second = open();
  expect(names(second)).toEqual(['b']);
  expect(second.revision).toBe(3);
  expect(second.get('b')?.metadata.resourceVersion).toBe('2');
});

test('a put at another revision than expected is void', () => {
  const storage = open();
  storage.put('a', 0, object('a'));
  expect(storage.put('a', 0, object('a'))).toBe('void');
  expect(storage.put('a', 7, object('a'))).toBe('void');
  expect(storage.put('none', 0, undefined)).toBe('void');
  expect(storage.revision).toBe(1);
});

test('a torn last line is ignored, and so it stays when others follow', () => {
  const first = open();
  first.put('a', 0, object('a'));
  const log = path.join(directory, 'log.1.jsonl');
  fs.appendFileSync(log, '\n{"id":"x","key":"torn","expect":0,"value":{"apiVersion":"v1","kind":"Conf');
  const second = open();
  expect(names(second)).toEqual(['a']);
  second.put('b', 0, object('b'));
  const third = open();
  expect(names(third)).toEqual(['a', 'b']);
  expect(third.revision).toBe(2);
});

test('a line cut anywhere loses that line and nothing before it', () => {
  const first = open();
  first.put('a', 0, object('a'));
  first.put('b', 0, object('b'));
  const log = path.join(directory, 'log.1.jsonl');
  const whole = fs.readFileSync(log);
  const secondRecord = whole.indexOf('\n\n') + 1;
  for (let length = secondRecord; length < whole.length - 1; length += 7) {
    fs.writeFileSync(log, whole.subarray(0, length));
    expect(names(open())).toEqual(['a']);
  }
});

test('two processes on one directory: of two puts at the same revision one is void, for both', () => {
  const one = open();
  const two = open();
  one.put('a', 0, object('a', 'one'));
  expect(two.put('a', 0, object('a', 'two'))).toBe('void');
  expect(two.put('a', 1, object('a', 'two'))).toBe(2);
  one.catchUp();
  expect(one.get('a')).toEqual(two.get('a'));
  expect(one.revision).toBe(two.revision);
});

test('changes of another process are told without being asked for', async () => {
  const one = open();
  const seen: string[] = [];
  one.onChange((change) => seen.push(change.key));
  open().put('a', 0, object('a'));
  await until(() => seen.length === 1);
  expect(seen).toEqual(['a']);
});

test('a long log is compacted, and processes that share it go along', () => {
  const one = open(2000);
  const two = open(2000);
  let revision = one.put('a', 0, object('a'));
  for (let i = 0; i < 100; i++) {
    const storage = i % 2 === 0 ? one : two;
    expect(typeof revision).toBe('number');
    revision = storage.put('a', Number(revision), object('a', String(i)));
  }
  expect(revision).toBe(101);
  const left = fs.readdirSync(directory).filter((name) => name.startsWith('log.'));
  expect(left.length).toBeLessThanOrEqual(2);
  expect(left).not.toContain('log.1.jsonl');
  const third = open(2000);
  expect(third.revision).toBe(101);
  expect(third.get('a')).toMatchObject({ metadata: { labels: { value: '99' }, resourceVersion: '101' } });
});

test('a process that was killed between the seal and the snapshot is no loss', () => {
  const first = open();
  first.put('a', 0, object('a'));
  fs.appendFileSync(path.join(directory, 'log.1.jsonl'), '\n{"seal":2}\n');
  expect(first.put('b', 0, object('b'))).toBe(2);
  const second = open();
  expect(names(second)).toEqual(['a', 'b']);
  expect(fs.readdirSync(directory).sort()).toEqual(['log.1.jsonl', 'log.2.jsonl', 'snapshot.2.jsonl']);
});

test('a damaged snapshot is an error that names the file', () => {
  fs.writeFileSync(path.join(directory, 'snapshot.2.jsonl'), '{"revision":5}\n');
  expect(() => open()).toThrow(/snapshot\.2\.jsonl is not a whole snapshot/);
});
