/** What the checkpointers of a node said, from the logs of their containers on its disk. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { RealNode } from './node.ts';

/** The last lines of all of them, by time. */
export async function readDaemonLog(node: RealNode, lines: number): Promise<string> {
  const directory = join(node.files.disk, 'log-pods');
  const said: string[] = [];
  for (const file of await readdir(directory, { recursive: true }).catch(() => [])) {
    if (!/^kube-system_pod-checkpointer[^/]*\/checkpointer\/\d+\.log$/.test(file)) continue;
    said.push(...(await readFile(join(directory, file), 'utf8')).split('\n').filter((line) => line !== ''));
  }
  return said.sort().slice(-lines).join('\n');
}
