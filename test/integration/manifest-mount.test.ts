import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { missingForMounts } from '../support/host/namespace.ts';
import { skipLoudly } from '../support/skip.ts';

const WATCHER = join(import.meta.dirname, '../support/host/mount-watcher.ts');

describe.skipIf(skipLoudly('a manifest directory that is mounted', missingForMounts()))(
  'a manifest directory that is removed and made anew',
  () => {
    let dir: string;
    let child: ChildProcess;
    let said: string;
    beforeEach(async () => {
      dir = await mkdtemp(join(tmpdir(), 'mount-'));
      for (const name of ['kubernetes/manifests', 'container/manifests']) await mkdir(join(dir, name), { recursive: true });
      said = '';
    });
    afterEach(async () => {
      child.kill('SIGKILL');
      await rm(dir, { recursive: true });
    });

    /** `$1`: the directory of all. */
    async function watching(mounts: string, directory: string): Promise<void> {
      const script = `set -e; mount --make-rprivate /; ${mounts}\nexec "$2" "$3" "$1/${directory}"`;
      child = spawn('unshare', ['--mount', 'sh', '-c', script, 'sh', dir, process.execPath, WATCHER], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      child.stdout?.on('data', (chunk: Buffer) => {
        said += chunk.toString();
      });
      while (!said.includes('watching')) await once(child.stdout ?? child, 'data');
    }

    async function makeAnew(): Promise<void> {
      await rm(join(dir, 'kubernetes/manifests'), { recursive: true });
      await mkdir(join(dir, 'kubernetes/manifests'));
    }

    test('is told where it was mounted by itself: the mount is of what was removed', async () => {
      await watching('mount --bind "$1/kubernetes/manifests" "$1/container/manifests"', 'container/manifests');
      await makeAnew();
      await once(child, 'exit');
      expect(said).toContain('was removed on the host');
    });

    test('is told where only the one before could be written to', async () => {
      const parent = 'mount --bind "$1/kubernetes" "$1/kubernetes"; mount --bind "$1/kubernetes/manifests" "$1/kubernetes/manifests"';
      await watching(`${parent}; mount -o remount,bind,ro "$1/kubernetes"`, 'kubernetes/manifests');
      await makeAnew();
      await once(child, 'exit');
      expect(said).toContain('was made anew on the host, and cannot be written to');
    });

    test('is no matter where its parent is mounted and can be written to; nor is a disk that becomes read-only', async () => {
      await watching('mount --bind "$1/kubernetes" "$1/kubernetes"', 'kubernetes/manifests');
      await makeAnew();
      // Ten looks later.
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(child.exitCode).toBeNull();
      expect(said).toBe('watching\n');
      child.kill('SIGKILL');
      await once(child, 'exit');
      said = '';
      await watching('mount --bind "$1/kubernetes" "$1/kubernetes"; mount -o remount,bind,ro "$1/kubernetes"', 'kubernetes/manifests');
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(said).toBe('watching\n');
    });
  },
);
