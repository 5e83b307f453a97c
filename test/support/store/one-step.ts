/**
 * Makes one change of a store, when told to: `one-step <store> <step>`. Says "ready" once everything is loaded, waits for a line, makes the change and says
 * "done", or "failed <reason code> <message>". In between a tracer attaches, which then sees the system calls of the change and nothing else.
 */
import { once } from 'node:events';
import { DamagedError, storeFailure } from '../../../src/checkpoint/store/errors.ts';
import { STEPS, type StepName } from './steps.ts';

async function main(root: string, name: StepName): Promise<void> {
  process.stdout.write('ready\n');
  await once(process.stdin, 'data');
  process.stdin.unref();
  try {
    await STEPS[name].change(root);
    process.stdout.write('done\n');
  } catch (error) {
    const failure = error instanceof DamagedError ? 'Damaged' : (storeFailure(error) ?? 'Unknown');
    process.stdout.write(`failed ${failure} ${error instanceof Error ? error.message : String(error)}\n`);
  }
  process.exit(0);
}

void main(process.argv[2] ?? '', (process.argv[3] ?? '') as StepName);
