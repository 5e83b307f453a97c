/** The tokens that lie in the store: what the daemon has when it starts, so that a restart asks for none and writes nothing. */
import { join } from 'node:path';
import { readRegular } from '../../platform/durable.ts';
import type { Token } from '../copy-types.ts';
import { objectKey } from '../references.ts';
import { decodeIndex, FILE_LIMIT, MANIFEST_LIMIT, sha256 } from './format.ts';
import { generationPath, workloadPath } from './paths.ts';
import type { StoreSnapshot } from './read.ts';

/** Tokens of the newest generations by objectKey. One that cannot be read, or is not what its index says, is left out: another is asked for. */
export async function readStoredTokens(root: string, store: StoreSnapshot): Promise<Map<string, Token>> {
  const tokens = new Map<string, Token>();
  for (const { workload, stored } of store.workloads.values()) {
    const newest = stored.newest === undefined ? undefined : stored.generations.get(stored.newest);
    if (newest?.instance === undefined || newest.instance.tokens.length === 0) continue;
    const directory = generationPath(workloadPath(root, workload), newest.number);
    const sums = await readSums(directory);
    for (const { path, serviceAccount, audience, expirationSeconds, podUid, renewAt, expiresAt } of newest.instance.tokens) {
      const bytes = await readRegular(join(directory, 'files', path), FILE_LIMIT).catch(() => undefined);
      if (!Buffer.isBuffer(bytes) || sha256(bytes) !== sums.get(`files/${path}`)) continue;
      const pod = { name: newest.parent.name, uid: podUid };
      const key = objectKey({ kind: 'Token', namespace: workload.namespace, name: serviceAccount, audience, expirationSeconds, pod });
      tokens.set(key, { token: bytes.toString('utf8'), renewAt, expiresAt });
    }
  }
  return tokens;
}

async function readSums(directory: string): Promise<ReadonlyMap<string, string>> {
  try {
    const bytes = await readRegular(join(directory, 'index.json'), MANIFEST_LIMIT);
    const { files } = decodeIndex(Buffer.isBuffer(bytes) ? bytes.toString('utf8') : '');
    return new Map(files.map((file) => [file.path, file.sha256]));
  } catch {
    return new Map();
  }
}
