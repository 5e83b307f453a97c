import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { librariesOf } from '../../scripts/libraries.ts';

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'libraries-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

/** Node's libraries below another root, at the paths that `move` gives them. */
function install(move: (path: string) => string | undefined): void {
  for (const { path, file } of librariesOf([process.execPath])) {
    const moved = move(path);
    if (moved === undefined) continue;
    mkdirSync(dirname(join(root, moved)), { recursive: true });
    copyFileSync(file, join(root, moved));
  }
}

test("a program's libraries are those that its own loader finds", () => {
  // ld.so(8): it prints them and does not start the program.
  const listed = execFileSync(process.execPath, { encoding: 'utf8', env: { LD_TRACE_LOADED_OBJECTS: '1' } });
  const paths = listed.split('\n').flatMap((line) => /(?:=> |^\s*)(\/\S+) \(0x/.exec(line)?.[1] ?? []);
  expect(librariesOf([process.execPath]).map(({ path }) => path)).toEqual(paths.sort());
});

test('a system whose packages hold /usr/lib alone gets its loader where programs look for it', () => {
  install((path) => (path.startsWith('/usr/') ? path : `/usr${path}`));
  const [loader] = librariesOf([process.execPath], root).filter(({ path }) => path.includes('/ld-'));
  expect(loader?.path).toMatch(/^\/lib/);
  expect(loader?.file).toBe(join(root, `/usr${loader?.path}`));
});

test('a library that is not there, or is for another machine, is named', () => {
  install((path) => (path.endsWith('/libm.so.6') ? undefined : path));
  expect(() => librariesOf([process.execPath], root)).toThrow(/needs libm\.so\.6: below /);
  install((path) => path);
  const libm = librariesOf([process.execPath], root).find(({ path }) => path.endsWith('/libm.so.6'))?.file ?? '';
  const bytes = readFileSync(libm);
  // e_machine of RISC-V.
  bytes.writeUInt16LE(243, 0x12);
  writeFileSync(libm, bytes);
  expect(() => librariesOf([process.execPath], root)).toThrow(/needs libm\.so\.6 for \w+, and .*libm\.so\.6 is for machine 243/);
});
