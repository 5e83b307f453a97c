import { execFileSync } from 'node:child_process';

/** Paths of a program's shared libraries and of its loader. With LD_TRACE_LOADED_OBJECTS the loader prints them and does not start it (ld.so(8)). */
export function librariesOf(program: string): string[] {
  const listed = execFileSync(program, { encoding: 'utf8', env: { LD_TRACE_LOADED_OBJECTS: '1' } });
  return listed.split('\n').flatMap((line) => /(?:=> |^\s*)(\/\S+) \(0x/.exec(line)?.[1] ?? []);
}
