/** Entry of the embedded node: `embedded <program> <flags>`. The daemon's bundle carries nothing of it. */
import { logTo, messageOf } from './log.ts';
import { programs } from './programs.ts';

type Program = (argv: readonly string[]) => Promise<void>;

/** Each program is loaded when it is asked for: a container runtime has no use for the API server's code. */
const PROGRAMS: Readonly<Record<string, () => Promise<Program>>> = {
  cri: async () => (await import('./cri/command.ts')).criCommand,
  ...Object.fromEntries(Object.entries(programs).map(([name, program]) => [name, async () => program])),
  demo: async () => (await import('./demo/demo.ts')).demoCommand,
  kubelet: async () => (await import('./kubelet/command.ts')).kubeletCommand,
};

const [name = '', ...argv] = process.argv.slice(2);
const load = PROGRAMS[name];
const program = load === undefined ? undefined : await load();

if (program === undefined) {
  process.stderr.write(`embedded: unknown program ${JSON.stringify(name)}; one of: ${Object.keys(PROGRAMS).join(', ')}\n`);
  process.exitCode = 2;
} else {
  program(argv).catch((error: unknown) => {
    logTo(name)(`fatal: ${messageOf(error)}`);
    process.exit(1);
  });
}
