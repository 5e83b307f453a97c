// Runs an executable on a disk made for it: does it say its version, and would it recover the node? For the gate, and for one of another architecture.
//
//     node scripts/check-executable.ts [--executable=dist/checkpointer-linux-x64] [--emulator=qemu-aarch64-static]
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { testHost } from '../test/support/host/host.ts';

const { values } = parseArgs({
  options: { executable: { type: 'string', default: `dist/checkpointer-linux-${process.arch}` }, emulator: { type: 'string' } },
});
const [program = '', ...before] = [...(values.emulator === undefined ? [] : [values.emulator]), values.executable];

function run(expected: RegExp, ...args: string[]): void {
  const started = performance.now();
  const output = execFileSync(program, [...before, ...args], { encoding: 'utf8' });
  const ms = (performance.now() - started).toFixed(0);
  if (!expected.test(output)) throw new Error(`${values.executable} ${args[0]}: expected ${expected}, got: ${output}`);
  console.log(`${values.executable} ${args.filter((arg) => !arg.includes('=')).join(' ')}: ${ms} ms`);
}

await using host = await testHost();
await host.save('kube-apiserver');
run(/^packed +executable$/m, 'version');
run(/kube-apiserver +activate g1-a1/, 'recover', '--boot', '--dry-run', '--probe-timeout=0', ...host.flags());
if ((await host.active()).length > 0) throw new Error('a dry run put a manifest in place');
