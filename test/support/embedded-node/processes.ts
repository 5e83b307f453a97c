/** Starts programs of the embedded node for a test, on a node of its own that is gone with the test. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cutPower, NODE_MARK } from '../../../src/embedded/node/processes.ts';

/** Command line in front of the name of an embedded program. */
export const EMBEDDED: readonly string[] = [process.execPath, fileURLToPath(new URL('../../../src/embedded/main.ts', import.meta.url))];

export interface TestNode {
  readonly id: string;
  readonly dir: string;
  /** Starts `embedded <argv>`; its output is kept. */
  start(...argv: string[]): Program;
  powerOff(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface Program {
  readonly child: ChildProcess;
  output(): string;
  kill(signal: NodeJS.Signals): Promise<void>;
  exited: Promise<number | null>;
}

export function testNode(): TestNode {
  const id = randomUUID();
  const dir = mkdtempSync(join(tmpdir(), 'embedded-'));
  return {
    id,
    dir,
    start: (...argv) => {
      const [node = '', entry = ''] = EMBEDDED;
      const child = spawn(node, [entry, ...argv], {
        env: { ...process.env, [NODE_MARK]: id },
        stdio: ['pipe', 'pipe', 'pipe'],
      });
      const text: string[] = [];
      child.stdout.on('data', (chunk: Buffer) => text.push(chunk.toString()));
      child.stderr.on('data', (chunk: Buffer) => text.push(chunk.toString()));
      const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
      return {
        child,
        exited,
        output: () => text.join(''),
        kill: async (signal) => {
          child.kill(signal);
          await exited;
        },
      };
    },
    powerOff: () => cutPower(id),
    async [Symbol.asyncDispose]() {
      await cutPower(id);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** An image table for tests: sleep, crash, and sh, which runs what the container says. */
export function writeImages(dir: string, more: Record<string, unknown> = {}): string {
  const file = join(dir, 'images.json');
  const table = {
    'registry.local/sleep': { programs: {}, entrypoint: ['sleep', 'infinity'] },
    'registry.local/crash': { programs: {}, entrypoint: ['sh', '-c', 'exit 1'] },
    'registry.local/remote:*': { programs: {}, entrypoint: ['sleep', 'infinity'], pulled: false },
    ...more,
  };
  writeFileSync(file, JSON.stringify(table));
  return file;
}
