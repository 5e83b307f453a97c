import { describe, expect, test } from 'vitest';
import { type FileSystemSpace, shortage } from '../../src/checkpoint/store/space.ts';

const MIB = 1024 * 1024;
const roomy: FileSystemSpace = { bsize: 4096, bavail: 10_000, files: 1000, ffree: 1000 };

describe('room for a save', () => {
  test('counts whole blocks for each file and each directory, and leaves 1 MiB', () => {
    const demand = { files: [1, 4096, 4097], directories: 2 };
    const blocks = 1 + 1 + 2 + 2 + MIB / 4096;
    expect(shortage(demand, { ...roomy, bavail: blocks })).toBeUndefined();
    expect(shortage(demand, { ...roomy, bavail: blocks - 1 })).toBe(`${(blocks - 1) * 4096} bytes are free, ${blocks * 4096} are needed`);
  });

  test('counts inodes, and leaves 32', () => {
    const demand = { files: [1, 1], directories: 2 };
    expect(shortage(demand, { ...roomy, ffree: 36 })).toBeUndefined();
    expect(shortage(demand, { ...roomy, ffree: 35 })).toBe('35 inodes are free, 36 are needed');
  });

  test('a file system that does not count inodes has enough of them', () => {
    expect(shortage({ files: [1], directories: 1 }, { ...roomy, files: 0, ffree: 0 })).toBeUndefined();
  });
});
