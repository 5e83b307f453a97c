/** A kubeconfig's current context: where the API server is and as whom to ask it. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { load } from 'js-yaml';
import { isMap } from '../apiserver/objects.ts';

export interface Connection {
  readonly server: URL;
  readonly ca: Buffer | undefined;
  readonly certificate: Buffer | undefined;
  readonly key: Buffer | undefined;
  readonly token: string | undefined;
}

/** Throws when the file cannot be read or its current context is not whole. */
export function readKubeconfig(file: string): Connection {
  const config = load(fs.readFileSync(file, 'utf8'));
  const context = entry(config, 'contexts', isMap(config) ? config['current-context'] : undefined)?.['context'];
  const cluster = entry(config, 'clusters', isMap(context) ? context['cluster'] : undefined)?.['cluster'];
  const user = entry(config, 'users', isMap(context) ? context['user'] : undefined)?.['user'];
  if (!isMap(cluster) || typeof cluster['server'] !== 'string' || !isMap(user))
    throw new Error(`${file}: the current context names no cluster with a server and no user: expected a whole kubeconfig`);
  const content = (from: Readonly<Record<string, unknown>>, field: string) => {
    const data = from[`${field}-data`];
    if (typeof data === 'string') return Buffer.from(data, 'base64');
    const at = from[field];
    return typeof at === 'string' ? fs.readFileSync(path.resolve(path.dirname(file), at)) : undefined;
  };
  return {
    server: new URL(cluster['server']),
    ca: content(cluster, 'certificate-authority'),
    certificate: content(user, 'client-certificate'),
    key: content(user, 'client-key'),
    token: typeof user['token'] === 'string' ? user['token'] : undefined,
  };
}

function entry(config: unknown, list: string, name: unknown): Readonly<Record<string, unknown>> | undefined {
  const entries = isMap(config) ? config[list] : undefined;
  return Array.isArray(entries) ? entries.find((item): item is Record<string, unknown> => isMap(item) && item['name'] === name) : undefined;
}
