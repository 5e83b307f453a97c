import { readFile } from 'node:fs/promises';

/**
 * The kernel's random id of this boot, a new one after every power-on; the same inside containers.
 * Throws where it cannot be read or is not a UUID: without it a cold boot cannot be told from a restart of this process.
 */
export async function readBootId(path = '/proc/sys/kernel/random/boot_id'): Promise<string> {
  const id = (await readFile(path, 'utf8')).trim();
  if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id)) {
    throw new Error(`${path} holds ${JSON.stringify(id.slice(0, 80))}: expected the boot id, a UUID in lower case`);
  }
  return id;
}
