import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { commandLine, findImage, parseImageTable } from '../../src/embedded/cri/images.ts';
import { substitutePaths, withMountinfo } from '../../src/embedded/cri/mounts.ts';
import { podUidOf } from '../../src/sources/own-pod.ts';

describe('mounts as a substitution of paths', () => {
  const mounts = [
    { containerPath: '/etc/kubernetes', hostPath: '/node/etc' },
    { containerPath: '/etc/kubernetes/secrets/', hostPath: '/node/volumes/secrets' },
    { containerPath: '/var/lib/etcd', hostPath: '/node/etcd' },
    { containerPath: '/run', hostPath: '/node/run' },
  ];
  test.each([
    ['a path', '/etc/kubernetes/admin.conf', '/node/etc/admin.conf'],
    ['the mount itself', '/etc/kubernetes', '/node/etc'],
    ['the longest mount wins', '/etc/kubernetes/secrets/ca.crt', '/node/volumes/secrets/ca.crt'],
    ['a flag with a path', '--client-ca-file=/etc/kubernetes/secrets/ca.crt', '--client-ca-file=/node/volumes/secrets/ca.crt'],
    ['a flag with a socket', '--container-runtime-endpoint=unix:///run/cri.sock', '--container-runtime-endpoint=unix:///node/run/cri.sock'],
    ['a flag with a file URL', '--etcd-servers=file:///var/lib/etcd', '--etcd-servers=file:///node/etcd'],
    ['a path that only begins alike', '/etc/kubernetes-old/x', '/etc/kubernetes-old/x'],
    ['a path that nothing covers', '/usr/bin/env', '/usr/bin/env'],
    ['text with a path inside', 'echo /etc/kubernetes', 'echo /etc/kubernetes'],
    ['a URL', 'https://127.0.0.1:6443', 'https://127.0.0.1:6443'],
  ])('%s', (_what, value, expected) => {
    expect(substitutePaths(value, mounts)).toBe(expected);
  });
});

describe('the mountinfo of a container', () => {
  test('says in which pod it runs, and is found under its own path', () => {
    const directory = mkdtempSync(join(tmpdir(), 'mountinfo-'));
    const file = join(directory, 'mountinfo');
    const uid = '0b4b4a0e-8f5c-4f0e-9f43-5d8f0f4f7c11';
    const hosts = { containerPath: '/etc/hosts', hostPath: `/var/lib/a kubelet/pods/${uid}/etc-hosts` };
    const mounts = withMountinfo(file, [hosts]);
    const text = readFileSync(file, 'utf8');
    rmSync(directory, { recursive: true });
    expect(substitutePaths('/proc/self/mountinfo', mounts)).toBe(file);
    expect(podUidOf(text)).toBe(uid);
    expect(text).toContain('/var/lib/a\\040kubelet/pods/');
  });
});

describe('images', () => {
  const table = parseImageTable(
    JSON.stringify({
      'registry.local/kube-apiserver:v1': {
        programs: { 'kube-apiserver': ['node', 'embedded.js', 'kube-apiserver'] },
        entrypoint: ['kube-apiserver'],
      },
      'registry.local/tool:*': { entrypoint: ['tool'], pulled: false },
    }),
    'images.json',
  );

  test('a reference is found exactly, or by the entry for every tag', () => {
    expect(findImage(table, 'registry.local/kube-apiserver:v1')?.entrypoint).toEqual(['kube-apiserver']);
    expect(findImage(table, 'registry.local/tool:v7')?.pulled).toBe(false);
    expect(findImage(table, 'registry.local/kube-apiserver:v2')).toBeUndefined();
  });

  test('the first word of a command is resolved in the image, the entry point stands in for a missing command', () => {
    const image = findImage(table, 'registry.local/kube-apiserver:v1');
    if (image === undefined) throw new Error('not found');
    expect(commandLine(image, ['kube-apiserver', '--v=2'], [])).toEqual(['node', 'embedded.js', 'kube-apiserver', '--v=2']);
    expect(commandLine(image, [], ['--v=2'])).toEqual(['node', 'embedded.js', 'kube-apiserver', '--v=2']);
    expect(commandLine(image, ['sh', '-c', 'true'], [])).toEqual(['sh', '-c', 'true']);
  });

  test('a table that is none is refused with the place', () => {
    expect(() => parseImageTable('{"a": {"entrypoint": "sh"}}', 'images.json')).toThrow(
      'images.json: image a: entrypoint: expected a list of strings',
    );
  });
});
