/** Starts one of the embedded node's programs: `node program.ts kube-apiserver --flags…`. */
import { programs } from '../../../src/embedded/programs.ts';

const [name = '', ...argv] = process.argv.slice(2);
const program = programs[name];
if (program === undefined) throw new Error(`no program ${name}: expected one of ${Object.keys(programs).join(', ')}`);
await program(argv);
