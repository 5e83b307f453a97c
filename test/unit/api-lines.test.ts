import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LineSplitter, LineTooLong } from '../../src/sources/api/lines.ts';
import { listPage, watchEvent } from '../../src/sources/api/wire.ts';

test('lines come out as they went in, wherever the bytes were cut', () => {
  const line = fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => !text.includes('\n') && text.isWellFormed());
  fc.assert(
    fc.property(fc.array(line), fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1 }), (lines, sizes) => {
      const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(''));
      const splitter = new LineSplitter(1_000_000);
      const found: string[] = [];
      for (let at = 0, i = 0; at < bytes.length; i += 1) {
        const size = sizes[i % sizes.length] ?? 1;
        found.push(...splitter.push(bytes.subarray(at, at + size)));
        at += size;
      }
      expect(found).toEqual(lines);
    }),
  );
});

test('a line may have just as many bytes as its limit, complete or not', () => {
  expect(new LineSplitter(4).push(Buffer.from('abcd\nabcd'))).toEqual(['abcd']);
  expect(() => new LineSplitter(4).push(Buffer.from('abcde\n'))).toThrow(LineTooLong);
  const splitter = new LineSplitter(4);
  splitter.push(Buffer.from('abcd'));
  expect(() => splitter.push(Buffer.from('e'))).toThrow(LineTooLong);
});

test('empty lines are left out', () => {
  expect(new LineSplitter(10).push(Buffer.from('\n\na\n\n'))).toEqual(['a']);
});

test.each([
  null,
  [],
  'text',
  {},
  { items: [] },
  { metadata: { resourceVersion: 1 }, items: [] },
  { metadata: { resourceVersion: '1' } },
  { metadata: { resourceVersion: '1' }, items: [{ metadata: {} }] },
])('%j is not a list', (body) => {
  expect(listPage(body)).toBeUndefined();
});

test('a list without items is an empty one', () => {
  expect(listPage({ metadata: { resourceVersion: '1' }, items: null })).toEqual({ items: [], resourceVersion: '1', continue: undefined });
});

test.each([
  null,
  'text',
  {},
  { type: 'ADDED' },
  { type: 'ADDED', object: { metadata: { uid: 'u' } } },
  { type: 'BOOKMARK', object: {} },
  { type: 'NEW', object: {} },
])('%j is not an event', (line) => {
  expect(watchEvent(line)).toBeUndefined();
});
