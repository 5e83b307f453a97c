import { describe, expect, it } from 'vitest';
import { type Check, checks, type DoctorFacts } from '../../src/inspect/doctor/checks.ts';
import { type Mount, mountOf, withinFileSystem } from '../../src/inspect/doctor/mounts.ts';
import type { DirectoryFacts } from '../../src/inspect/doctor/read-place.ts';

const MOUNTINFO = [
  '22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw',
  '30 22 0:40 / /run rw,nosuid shared:5 - tmpfs tmpfs rw,mode=755',
  '31 22 8:2 /lib/pod-checkpointer /var/lib/pod-checkpointer rw - xfs /dev/sdb1 rw',
  '32 22 8:1 /etc/kubernetes /etc/kubernetes ro,relatime - ext4 /dev/sda1 rw',
  '33 22 8:1 /srv/other\\040place /mnt/a\\040b rw - ext4 /dev/sda1 rw',
  '34 22 0:50 / /etc/kubernetes rw - overlay overlay rw',
].join('\n');

describe('the mount of a path', () => {
  it.each([
    ['/var/lib/pod-checkpointer/workloads', '/var/lib/pod-checkpointer', 'xfs', '/lib/pod-checkpointer/workloads'],
    ['/var/lib/pod-checkpointer2', '/', 'ext4', '/var/lib/pod-checkpointer2'],
    ['/run/lock', '/run', 'tmpfs', '/lock'],
    ['/mnt/a b/c', '/mnt/a b', 'ext4', '/srv/other place/c'],
    ['/etc/kubernetes', '/etc/kubernetes', 'overlay', '/'],
  ])('%s is %s (%s), and lies there at %s', (path, point, type, within) => {
    const mount = mountOf(MOUNTINFO, path);
    expect(mount).toMatchObject({ point, type });
    expect(mount === undefined ? undefined : withinFileSystem(mount, path)).toBe(within);
  });

  it('is not known from anything else', () => {
    expect(mountOf('', '/a')).toBeUndefined();
    expect(mountOf('garbage - more', '/a')).toBeUndefined();
  });
});

const mount = (more: Partial<Mount> = {}): Mount => ({ point: '/', root: '/', type: 'ext4', readOnly: false, ...more });
const directory = (path: string, more: Partial<DirectoryFacts> = {}): DirectoryFacts => ({
  path,
  found: { directory: true, uid: 0, mode: 0o700 },
  mount: mount(),
  sameAsHost: true,
  ...more,
});

const WELL: DoctorFacts = {
  place: { where: 'host', uid: 0, flock: '/usr/bin/flock', selinux: undefined },
  store: directory('/var/lib/pod-checkpointer'),
  manifests: directory('/etc/kubernetes/manifests'),
  locks: directory('/run/lock', { mount: mount({ type: 'tmpfs' }) }),
  kubelet: {
    staticPodPath: { path: '/etc/kubernetes/manifests', from: '/var/lib/kubelet/config.yaml' },
    imagePullVerification: undefined,
    pulled: undefined,
    detail: undefined,
  },
  kubeconfig: { state: 'ok' },
  api: { state: 'ok' },
  node: { state: 'read', user: 'system:node:n', reviews: [{ what: 'list the pods of this node', wanted: true, allowed: true }] },
  owners: {
    state: 'read',
    user: 'system:serviceaccount:kube-system:pod-checkpointer',
    reviews: [{ what: 'list pods', wanted: true, allowed: true }],
  },
  runtime: { state: 'ok', name: 'containerd 2.1.1' },
  bootId: { state: 'ok', id: '0b0b' },
  clockAhead: 300,
  bootUnit: { state: 'armed', by: 'kubelet.service' },
  leader: { state: 'leads', recorded: undefined },
};

const notOk = (facts: Partial<DoctorFacts>): Check[] => checks({ ...WELL, ...facts }).filter(({ state }) => state !== 'ok');
const said = (facts: Partial<DoctorFacts>): string[] => notOk(facts).map(({ check, state, seen }) => `${state} ${check}: ${seen}`);
const blind = { ...WELL.place, where: 'blind' } as const;

describe('the doctor', () => {
  it('finds nothing where everything is well', () => {
    expect(notOk({})).toEqual([]);
  });

  it.each<[string, Partial<DoctorFacts>, string]>([
    ['another user', { place: { ...WELL.place, uid: 1000 } }, 'fail User: uid 1000, on the host'],
    ['no flock(1)', { place: { ...WELL.place, flock: undefined } }, 'fail flock: there is no flock(1) on PATH'],
    ['a store that is not there', { store: directory('/s', { found: undefined }) }, 'fail Checkpoint directory: /s does not exist'],
    [
      'a store in memory',
      { store: directory('/s', { mount: mount({ type: 'tmpfs' }) }) },
      'fail Checkpoint directory: /s is in memory (tmpfs)',
    ],
    [
      'a read-only store',
      { store: directory('/s', { mount: mount({ readOnly: true }) }) },
      'fail Checkpoint directory: /s is mounted read-only',
    ],
    [
      'a store that others may enter',
      { store: directory('/s', { found: { directory: true, uid: 0, mode: 0o755 } }) },
      'fail Store permissions: /s has mode 755',
    ],
    [
      'a store of another user',
      { store: directory('/s', { found: { directory: true, uid: 7, mode: 0o700 } }) },
      'fail Store permissions: /s belongs to uid 7',
    ],
    [
      'a manifest directory that anybody writes to',
      { manifests: directory('/etc/kubernetes/manifests', { found: { directory: true, uid: 0, mode: 0o777 } }) },
      'warn Manifest permissions',
    ],
    [
      'another directory than the kubelet reads',
      { manifests: directory('/m') },
      'fail Static pods: the kubelet reads static pods from /etc/kubernetes/manifests',
    ],
    [
      'a container with another directory',
      { place: { ...WELL.place, where: 'container' }, store: directory('/s', { sameAsHost: false }) },
      "fail Checkpoint directory: /s is another directory than the host's /s",
    ],
    [
      "a store in the container's own file system",
      { place: blind, store: directory('/s', { sameAsHost: undefined, mount: mount({ type: 'overlay' }) }) },
      "fail Checkpoint directory: /s lies in the container's own file system",
    ],
    [
      'a store mounted from another path',
      { place: blind, store: directory('/s', { sameAsHost: undefined, mount: mount({ point: '/s', root: '/srv/other' }) }) },
      'warn Checkpoint directory: /s is mounted from /srv/other of its file system',
    ],
    ['no kubeconfig', { kubeconfig: { state: 'wrong', detail: '/k: cannot be read' } }, 'fail Kubeconfig: /k: cannot be read'],
    ['an API server that is away', { api: { state: 'unreachable', detail: 'refused' } }, 'warn API server: refused'],
    ['an API server that denies', { api: { state: 'denied', detail: 'HTTP 401' } }, 'fail API server: HTTP 401'],
    [
      'an identity that may not do what is needed',
      { node: { state: 'read', user: 'system:node:n', reviews: [{ what: 'create events', wanted: true, allowed: false }] } },
      'fail Node identity: system:node:n may not create events',
    ],
    [
      'an identity that may do too much',
      { owners: { state: 'read', user: 'admin', reviews: [{ what: 'list all Secrets', wanted: false, allowed: true }] } },
      'warn Owners identity: admin may list all Secrets, which is not needed',
    ],
    ['no identity that reads owners', { owners: undefined }, 'warn Owners identity: there is none'],
    ['a runtime that does not answer', { runtime: { state: 'unknown', detail: 'no socket' } }, 'fail Container runtime: no socket'],
    ['a clock that is slow', { clockAhead: -20_000 }, "warn Clock: 20 s behind the API server's"],
    ['a clock that is wrong', { clockAhead: 90_000 }, "fail Clock: 90 s ahead of the API server's"],
    ['no boot id', { bootId: { state: 'unknown', detail: 'ENOENT' } }, 'fail Boot id: ENOENT'],
    ['a boot unit that is not armed', { bootUnit: { state: 'not armed', detail: 'it is masked' } }, 'warn Boot unit: it is masked'],
    ['a boot unit that cannot be seen', { bootUnit: { state: 'unknown', detail: 'hidden' } }, 'unknown Boot unit: hidden'],
    ['nobody leading', { leader: { state: 'nobody', recorded: undefined } }, 'warn Leader: nobody leads'],
    [
      'a container that SELinux confines',
      { place: { ...blind, selinux: { enforcing: true, context: 'system_u:system_r:container_t:s0' } } },
      'warn SELinux: enforcing, this process is system_u:system_r:container_t:s0',
    ],
  ])('says of %s what is wrong, and what to do', (_what, facts, expected) => {
    const found = said(facts);
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(expected);
    for (const { state, advice } of notOk(facts)) if (state !== 'unknown') expect(advice).toBeDefined();
  });

  it('takes a container whose directories are mounted from the same paths', () => {
    const store = directory('/var/lib/pod-checkpointer', {
      sameAsHost: undefined,
      mount: { point: '/var/lib/pod-checkpointer', root: '/lib/pod-checkpointer', type: 'xfs', readOnly: false },
    });
    const manifests = directory('/etc/kubernetes/manifests', {
      sameAsHost: undefined,
      mount: mount({ point: '/etc/kubernetes', root: '/etc/kubernetes' }),
    });
    const locks = directory('/run/lock', { sameAsHost: undefined, mount: mount({ point: '/run/lock', root: '/lock', type: 'tmpfs' }) });
    const place = { ...blind, selinux: { enforcing: true, context: 'system_u:system_r:spc_t:s0' } };
    expect(notOk({ place, store, manifests, locks })).toEqual([]);
  });
});
