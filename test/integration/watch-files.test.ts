import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { parseKubeconfig } from '../../src/sources/api/kubeconfig.ts';
import { type FileWatch, identityDirectories, watchFiles } from '../../src/sources/watch-files.ts';
import { until } from '../support/until.ts';

let dir: string;
let watching: FileWatch | undefined;
let wakes: number;
let said: string[];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'watch-'));
  wakes = 0;
  said = [];
});
afterEach(async () => {
  await watching?.close();
  await rm(dir, { recursive: true });
});

function start(directory: string, checkMs: number): void {
  const note = (_: object, message: string) => void said.push(message);
  watching = watchFiles([directory], () => wakes++, { info: note, warn: note }, checkMs);
}

/** Touches files until a wake-up comes: chokidar says nothing of when it has begun to watch. */
async function wakesOn(change: () => Promise<void>): Promise<void> {
  const before = wakes;
  await until(async () => {
    await change();
    await new Promise((resolve) => setTimeout(resolve, 30));
    return wakes > before;
  });
}

describe('files that are watched', () => {
  test('wake the loop when one is written, renamed into place, or removed', async () => {
    const file = join(dir, 'kubelet.conf');
    let number = 0;
    start(dir, 60_000);
    await wakesOn(() => writeFile(file, String(number++)));
    await wakesOn(async () => {
      await writeFile(`${file}.new`, String(number++));
      await rename(`${file}.new`, file);
    });
    await wakesOn(() => rm(file, { force: true }));
  });

  test('a directory that is removed and made anew is noticed and watched again', async () => {
    const directory = join(dir, 'manifests');
    await mkdir(directory);
    start(directory, 50);
    await wakesOn(() => writeFile(join(directory, 'a'), ''));
    await rm(directory, { recursive: true });
    await mkdir(directory);
    await until(
      () => said.includes('a watched directory is another one: watched anew') || said.includes('a directory to watch is there now'),
    );
    await wakesOn(() => writeFile(join(directory, 'a'), ''));
  });

  test('a directory that comes later is watched from then on', async () => {
    const directory = join(dir, 'later');
    start(directory, 50);
    await mkdir(directory);
    await until(() => said.includes('a directory to watch is there now'));
    expect(wakes).toBeGreaterThan(0);
    await wakesOn(() => writeFile(join(directory, 'a'), ''));
  });
});

test("the kubeconfig's directory and those of the certificate, key and CA that it names are watched, each once", () => {
  const config = {
    'current-context': 'c',
    contexts: [{ name: 'c', context: { cluster: 'k', user: 'u' } }],
    clusters: [{ name: 'k', cluster: { server: 'https://127.0.0.1:6443', 'certificate-authority': 'pki/ca.crt' } }],
    users: [
      {
        name: 'u',
        user: {
          'client-certificate': '/var/lib/kubelet/pki/kubelet-client-current.pem',
          'client-key': '/var/lib/kubelet/pki/kubelet-client-current.pem',
        },
      },
    ],
  };
  const kubeconfig = parseKubeconfig(JSON.stringify(config), '/etc/kubernetes/kubelet.conf');
  expect(identityDirectories(kubeconfig)).toEqual(['/etc/kubernetes', '/etc/kubernetes/pki', '/var/lib/kubelet/pki']);
});
