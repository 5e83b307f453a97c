import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Digest } from '../../src/checkpoint/model.ts';
import {
  decodeCounter,
  decodeFormatLine,
  decodeIndex,
  decodeNewestPointer,
  decodePointer,
  decodeProven,
  decodeWorkload,
  encodeCounter,
  encodeFormatLine,
  encodeIndex,
  encodeNewestPointer,
  encodePointer,
  encodeProven,
  FORMAT,
  type GenerationIndex,
  isSafePath,
  MAX_NUMBER,
  sha256,
} from '../../src/checkpoint/store/format.ts';
import { SCHEDULER } from '../support/store/sample.ts';

const generation = fc.integer({ min: 1, max: MAX_NUMBER });
const hex = fc.stringMatching(/^[0-9a-f]{64}$/);
const part = fc.string({ minLength: 1, maxLength: 20 }).filter((text) => isSafePath(text) && !text.includes('/'));
const owned = { mode: fc.integer({ min: 0, max: 0o7777 }), uid: fc.nat(), gid: fc.nat() };

const index: fc.Arbitrary<GenerationIndex> = fc
  .record({
    generation,
    digest: fc.string().map((text) => text as Digest),
    createdAt: fc.string(),
    parent: fc.record({ name: fc.string(), uid: fc.string() }),
    containers: fc.array(fc.string()),
    traits: fc.record({ servesApi: fc.boolean(), handBack: fc.constantFrom('overlap' as const, 'exclusive' as const) }),
    names: fc.uniqueArray(part, { minLength: 1, maxLength: 5 }),
    owned: fc.record(owned),
    size: fc.nat(),
    sum: hex,
  })
  .map(({ names, owned, size, sum, ...rest }) => ({
    format: FORMAT,
    workload: SCHEDULER,
    ...rest,
    directories: [{ path: 'files', ...owned }],
    files: names.map((name) => ({ path: `files/${name}`, size, ...owned, sha256: sum })),
  }));

const SAMPLE: GenerationIndex = {
  format: FORMAT,
  workload: SCHEDULER,
  generation: 12,
  digest: 'digest' as Digest,
  createdAt: '2026-01-01T00:00:00.000Z',
  parent: { name: 'kube-scheduler-abcde', uid: 'uid' },
  containers: ['main'],
  traits: { servesApi: false, handBack: 'exclusive' },
  directories: [{ path: 'files', mode: 0o755, uid: 0, gid: 0 }],
  files: [{ path: 'files/key', size: 3, mode: 0o400, uid: 0, gid: 0, sha256: sha256('key') }],
};

/** Sealed as the store would, whatever it says. */
const forged = (change: (value: Record<string, unknown>) => void): string => {
  const value: Record<string, unknown> = JSON.parse(JSON.stringify(SAMPLE));
  change(value);
  return encodeIndex(value as unknown as GenerationIndex);
};

function* flips(text: string): Generator<string> {
  const bytes = Buffer.from(text);
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const flipped = Buffer.from(bytes);
    flipped.writeUInt8(flipped.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3);
    yield flipped.toString();
  }
}

describe('the index of a generation', () => {
  test('is read back as it was written', () => {
    fc.assert(
      fc.property(index, (value) => {
        expect(decodeIndex(encodeIndex(value))).toEqual(value);
      }),
    );
  });

  test('one flipped bit anywhere in it is found', () => {
    let count = 0;
    for (const text of flips(encodeIndex(SAMPLE))) {
      count++;
      expect(() => decodeIndex(text)).toThrow(/^index\.json /);
    }
    console.log(`single bits flipped in an index: ${count}, all found`);
  });

  test('cut off anywhere, it is found', () => {
    const text = encodeIndex(SAMPLE);
    for (let length = 0; length < text.length; length++) expect(() => decodeIndex(text.slice(0, length))).toThrow(/^index\.json /);
  });

  test('no text makes the parser fail in another way than by saying so in one line', () => {
    const texts = fc.oneof(
      fc.string(),
      fc.json(),
      fc.string({ unit: 'binary' }),
      fc.tuple(fc.string(), fc.nat(encodeIndex(SAMPLE).length)).map(([text, at]) => encodeIndex(SAMPLE).slice(0, at) + text),
      // With a right checksum over wrong content.
      fc
        .tuple(fc.constantFrom(...Object.keys(SAMPLE)), fc.jsonValue())
        .map(([key, value]) => forged((one) => Object.assign(one, { [key]: value }))),
      fc
        .tuple(fc.constantFrom('path', 'size', 'mode', 'sha256'), fc.jsonValue())
        .map(([key, value]) => forged((one) => Object.assign(one, { files: [{ ...SAMPLE.files[0], [key]: value }] }))),
    );
    fc.assert(
      fc.property(texts, (text) => {
        try {
          const read = decodeIndex(text);
          for (const { path } of [...read.files, ...read.directories]) expect(isSafePath(path)).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
          expect(String(error)).toMatch(/^Error: index\.json [^\n]*$/);
        }
      }),
      { numRuns: 3_000 },
    );
  });

  test.each([
    ['leads out of the generation', '../../../etc/shadow'],
    ['leads out of the generation', '/etc/shadow'],
    ['leads out of the generation', 'files/../../x'],
    ['leads out of the generation', 'files//x'],
    ['leads out of the generation', ''],
    ['leads out of the generation', 'files/a\0b'],
    ['the directory that it lies in', 'elsewhere/x'],
    ['twice', 'files'],
  ])('with a right checksum, a bad path is refused (%s): %j', (message, path) => {
    expect(() => decodeIndex(forged((one) => Object.assign(one, { files: [{ ...SAMPLE.files[0], path }] })))).toThrow(message);
  });

  test.each(['files/with\nnewline', 'files/with space', `files/${'x'.repeat(255)}`, 'files/..data', 'files/...', 'files/ä'])(
    'a name that only looks dangerous is kept: %j',
    (path) => {
      const text = forged((one) => Object.assign(one, { files: [{ ...SAMPLE.files[0], path }] }));
      expect(decodeIndex(text).files[0]?.path).toBe(path);
    },
  );

  test('of a later format says which one this version reads', () => {
    expect(() => decodeIndex(forged((one) => Object.assign(one, { format: 2 })))).toThrow('index.json has format 2: this version reads 1');
  });
});

describe('pointers, counters and the format line', () => {
  test('are read back as they were written', () => {
    fc.assert(
      fc.property(generation, hex, fc.nat(), (number, indexSha256, more) => {
        const pointer = { generation: number, indexSha256 };
        const newest = { ...pointer, highest: Math.min(number + more, MAX_NUMBER) };
        expect(decodePointer(encodePointer(pointer))).toEqual(pointer);
        expect(decodeNewestPointer(encodeNewestPointer(newest))).toEqual(newest);
        expect(decodeCounter(encodeCounter(number))).toBe(number);
        for (const previous of [undefined, { generation: number === 1 ? 2 : number - 1, indexSha256 }])
          expect(decodeProven(encodeProven({ proven: pointer, previous }))).toEqual({ proven: pointer, previous });
      }),
    );
  });

  test('nothing but what the store writes is taken for one, and nothing makes the parsers throw', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary' }),
          fc.tuple(fc.string(), hex, fc.string()).map((parts) => parts.join(' ')),
          fc
            .array(
              fc.tuple(fc.nat().map(String), hex).map((pair) => pair.join(' ')),
              { maxLength: 3 },
            )
            .map((pairs) => `${pairs.join(' ')}\n`),
          fc.tuple(fc.nat().map(String), hex, fc.constantFrom('\n', '', ' \n', '\n\n', ' 9\n')).map(([n, sum, end]) => `${n} ${sum}${end}`),
        ),
        (text) => {
          const pointer = decodePointer(text);
          if (pointer !== undefined) expect(encodePointer(pointer)).toBe(text);
          const newest = decodeNewestPointer(text);
          if (newest !== undefined) expect(encodeNewestPointer(newest)).toBe(text);
          const proven = decodeProven(text);
          if (proven !== undefined) expect(encodeProven(proven)).toBe(text);
          const count = decodeCounter(text);
          if (count !== undefined) expect(encodeCounter(count)).toBe(text);
          const line = decodeFormatLine(text);
          if (line.state === 'format') expect(encodeFormatLine(line.format)).toBe(text);
          decodeWorkload(text);
        },
      ),
      { numRuns: 5_000 },
    );
  });

  test('one flipped bit never makes another counter or another format, nor a pointer to another index', () => {
    const pointer = { generation: 12, indexSha256: sha256('index') };
    for (const text of flips(encodePointer(pointer))) {
      const read = decodePointer(text);
      // It points at another generation or at another index, never at another generation with the index that is there.
      if (read !== undefined) expect(read.generation === 12 && read.indexSha256 === pointer.indexSha256).toBe(false);
    }
    for (const text of flips(encodeCounter(12))) expect(decodeCounter(text)).toBeUndefined();
    for (const text of flips(encodeFormatLine(1))) expect(decodeFormatLine(text).state).toBe('garbled');
  });

  test('one flipped bit in a pair of pointers never makes either lead to another generation', () => {
    const pair = { proven: { generation: 12, indexSha256: sha256('new') }, previous: { generation: 9, indexSha256: sha256('old') } };
    const right = new Set(Object.values(pair).map(encodePointer));
    for (const text of flips(encodeProven(pair))) {
      const read = decodeProven(text);
      const wrong = [read?.proven, read?.previous].filter((one) => one !== undefined && !right.has(encodePointer(one)));
      // What is not right fits no index, and so counts for nothing.
      for (const pointer of wrong)
        expect(Object.values(pair).some((one) => one.generation === pointer?.generation && one.indexSha256 === pointer.indexSha256)).toBe(
          false,
        );
      expect(read === undefined || wrong.length === 1).toBe(true);
    }
    expect(decodeProven(encodeProven({ proven: pair.proven, previous: pair.proven }))).toBeUndefined();
  });

  test.each(['1000000000000', '999999999999999', '9007199254740993', '01', '+1', '1.0', '1e3', ''])(
    '%j is no number of the store',
    (number) => {
      const sum = sha256('index');
      expect(decodePointer(`${number} ${sum}\n`)).toBeUndefined();
      expect(decodeNewestPointer(`1 ${sum} ${number}\n`)).toBeUndefined();
      expect(decodeCounter(`${number} ${sha256(number)}\n`)).toBeUndefined();
    },
  );

  test('the format line of a later version is understood as such', () => {
    expect(decodeFormatLine(encodeFormatLine(2))).toEqual({ state: 'format', format: 2 });
  });
});
