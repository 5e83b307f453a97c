/** What is read out of single files and command lines. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { WorkloadKey } from '../../src/checkpoint/workload.ts';
import { parseWarnBefore } from '../../src/commands/inspect.ts';
import { size, table } from '../../src/commands/table.ts';
import { resolveWorkload } from '../../src/inspect/detail.ts';
import { comparable, fileDifferences, podDifferences } from '../../src/inspect/diff.ts';
import { endsIn } from '../../src/inspect/expiry.ts';
import { expiryFindings, WARN_BEFORE } from '../../src/inspect/foresight/expiry.ts';
import { withoutTag } from '../../src/inspect/foresight/images.ts';
import { parseKubeletFlags, parsePulledRecord } from '../../src/inspect/read-kubelet.ts';
import { ANSI, wantsColour } from '../../src/inspect/render.ts';

let dir: string;
let pem: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'expiry-'));
  const openssl = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '10',
    '-subj',
    '/CN=secret-name',
  ];
  execFileSync('openssl', [...openssl, '-keyout', join(dir, 'key'), '-out', join(dir, 'crt')], { stdio: 'ignore' });
  pem = readFileSync(join(dir, 'crt'), 'utf8');
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const jwt = (claims: object): string =>
  `${['{"alg":"RS256"}', JSON.stringify(claims)].map((part) => Buffer.from(part).toString('base64url')).join('.')}.c2ln`;
const day = 86_400_000;

describe('the end of', () => {
  const lasts = ({ from, to }: { from: string | undefined; to: string }) => Math.round((Date.parse(to) - Date.parse(from ?? '')) / day);

  it('each certificate of a chain is found, and nothing else of the file is kept', () => {
    const ends = endsIn('files/pki/ca.crt', Buffer.from(`# a comment\n${pem}${pem}`));
    expect(ends.map(({ kind, path }) => `${kind} ${path}`)).toEqual(['certificate files/pki/ca.crt', 'certificate files/pki/ca.crt']);
    expect(ends.map(lasts)).toEqual([10, 10]);
    expect(JSON.stringify(ends)).not.toContain('secret-name');
  });

  it.each([
    [
      'YAML',
      (data: string) =>
        `apiVersion: v1\nkind: Config\nclusters: []\nusers:\n- user:\n    client-certificate-data: ${data}\n    client-key-data: QUJD\n`,
    ],
    ['JSON', (data: string) => JSON.stringify({ clusters: [], users: [{ user: { 'client-certificate-data': data } }] })],
  ])('the certificate in a kubeconfig of %s is found', (_form, kubeconfig) => {
    const ends = endsIn('files/k/kubeconfig', Buffer.from(kubeconfig(Buffer.from(pem).toString('base64'))));
    expect(ends.map(({ kind }) => kind)).toEqual(['kubeconfig']);
    expect(ends.map(lasts)).toEqual([10]);
  });

  it('a service account token, and one in a kubeconfig, is found', () => {
    const token = jwt({ exp: 2_000_003_600, iat: 2_000_000_000 });
    expect(endsIn('t', Buffer.from(`${token}\n`))).toEqual([
      { path: 't', kind: 'token', from: '2033-05-18T03:33:20.000Z', to: '2033-05-18T04:33:20.000Z' },
    ]);
    expect(endsIn('t', Buffer.from(`clusters: []\nusers:\n- user:\n    token: ${token}\n`)).map(({ kind }) => kind)).toEqual([
      'kubeconfig',
    ]);
  });

  it.each([
    '',
    'a.b.c',
    'key: value',
    '-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n',
    jwt({ sub: 'x' }),
    'clusters: []\ntoken: abc',
  ])('nothing is found in %j', (text) => {
    expect(endsIn('f', Buffer.from(text))).toEqual([]);
  });
});

describe('it is warned of what ends', () => {
  const now = Date.parse('2026-11-21T12:00:00Z');
  const at = (ms: number) => new Date(now + ms).toISOString();
  const codes = (from: number | undefined, to: number, kind: 'certificate' | 'token' = 'certificate') =>
    expiryFindings([{ path: 'f', kind, from: from === undefined ? undefined : at(from), to: at(to) }], now, WARN_BEFORE).map(
      ({ code }) => code,
    );

  it.each([
    ['within 30 days, of a year', -336 * day, 29 * day, ['CertificateExpires']],
    ['in more than 30 days', -334 * day, 31 * day, []],
    ['in 21 of 100 days', -79 * day, 21 * day, []],
    ['in 19 of 100 days', -81 * day, 19 * day, ['CertificateExpires']],
    ['already', -81 * day, -1, ['CertificateExpired']],
    ['soon, and does not say since when it lasts', undefined, 29 * day, ['CertificateExpires']],
  ])('%s', (_when, from, to, expected) => {
    expect(codes(from, to)).toEqual(expected);
  });

  it('a token of an hour only in its last fifth, before which it is renewed', () => {
    expect(codes(-2_800_000, 800_000, 'token')).toEqual([]);
    expect(codes(-3_000_000, 600_000, 'token')).toEqual(['TokenExpires']);
  });

  it.each([
    ['30d,20%', { time: 30 * day, share: 0.2 }],
    ['48h', { time: 2 * day, share: 0.2 }],
    ['7d,100%', { time: 7 * day, share: 1 }],
  ])('as --warn-before=%s says', (text, expected) => {
    expect(parseWarnBefore(text)).toEqual(expected);
  });

  it.each(['', '30', '30d,', '20%', '1m'])('--warn-before=%j is not understood', (text) => {
    expect(() => parseWarnBefore(text)).toThrow('such as 30d,20%');
  });
});

describe('the kubelet', () => {
  it('is known by its command line', () => {
    const flags = parseKubeletFlags(['/usr/bin/kubelet', '--config=/etc/k.yaml', '--pod-manifest-path', '/etc/m', '-v', '2', '']);
    expect([...(flags ?? [])]).toEqual([
      ['config', '/etc/k.yaml'],
      ['pod-manifest-path', '/etc/m'],
      ['v', '2'],
    ]);
    expect(parseKubeletFlags(['/hyperkube', 'kubelet', '--config=x'])?.get('config')).toBe('x');
    expect(parseKubeletFlags(['vim', 'kubelet'])).toBeUndefined();
    expect(parseKubeletFlags([''])).toBeUndefined();
  });

  it('says in its records which images only pods with a pull secret may use; the secret is not kept', () => {
    const record = {
      kind: 'ImagePulledRecord',
      apiVersion: 'kubelet.config.k8s.io/v1alpha1',
      imageRef: 'sha256:a',
      credentialMapping: {
        'example.org/private': { kubernetesSecrets: [{ uid: 'u', namespace: 'n', name: 'pull', credentialHash: 'hash' }] },
        'example.org/public': { nodePodsAccessible: true },
      },
    };
    const parsed = parsePulledRecord(JSON.stringify(record));
    expect(parsed).toEqual([
      [
        'sha256:a',
        new Map([
          ['example.org/private', { everyPod: false }],
          ['example.org/public', { everyPod: true }],
        ]),
      ],
    ]);
    expect(parsePulledRecord('not JSON')).toBeUndefined();
    expect(parsePulledRecord('{}')).toBeUndefined();
  });

  it.each([
    ['example.org:5000/a/b:v1', 'example.org:5000/a/b'],
    ['example.org:5000/a/b', 'example.org:5000/a/b'],
    ['b@sha256:0', 'b'],
    ['b:v1@sha256:0', 'b'],
  ])('calls the image %s in its records %s', (image, name) => {
    expect(withoutTag(image)).toBe(name);
  });
});

describe('differences', () => {
  const pod = (image: string, value: string, number: number) => ({
    metadata: { name: `x-g${number}`, annotations: { 'pod-checkpointer.io/generation': String(number), kept: 'yes' } },
    spec: {
      containers: [{ name: 'main', image, env: [{ name: 'PASSWORD', value }], args: ['--a', '--b'] }],
      volumes: [{ name: 'keys', hostPath: { path: `/store/w/generations/${number}/files/keys` } }],
    },
  });
  const placed = (image: string, value: string, number: number) => comparable(pod(image, value, number), `/store/w/generations/${number}`);

  it('of two generations are those of their copies, not of their places', () => {
    expect(podDifferences(placed('a:1', 'x', 1), placed('a:1', 'x', 2))).toEqual([]);
  });

  it('name the field by the names of the list items, and never show the value of a variable', () => {
    const found = podDifferences(placed('a:1', 'hunter2', 1), placed('a:2', 'hunter3', 2));
    expect(found).toEqual([
      { where: 'spec.containers[main].env[PASSWORD].value', change: 'changed' },
      { where: 'spec.containers[main].image', change: 'changed', before: '"a:1"', after: '"a:2"' },
    ]);
  });

  it('never show variables of a container that is added as a whole', () => {
    const found = podDifferences({ spec: { containers: [] } }, placed('a:1', 'hunter2', 1));
    expect(JSON.stringify(found)).not.toContain('hunter2');
  });

  it('of files are their places, modes and owners', () => {
    const file = (path: string, sha256: string, mode = 0o400) => ({ path, mode, uid: 0, gid: 0, sha256 });
    const before = [file('a', '1'), file('b', '1'), file('c', '1'), file('t', '1')];
    const after = [file('b', '2'), file('c', '1', 0o440), file('d', '1'), file('t', '2')];
    expect(fileDifferences(before, after, new Set(['t']))).toEqual([
      { where: 'a', change: 'removed' },
      { where: 'b', change: 'changed' },
      { where: 'c', change: 'changed', before: '0400 0:0', after: '0440 0:0' },
      { where: 'd', change: 'added' },
    ]);
  });
});

describe('a workload', () => {
  const keys = ['kube-system/DaemonSet/proxy', 'kube-system/Deployment/proxy', 'other/DaemonSet/dns'] as WorkloadKey[];

  it.each([
    ['dns', 'other/DaemonSet/dns'],
    ['Deployment/proxy', 'kube-system/Deployment/proxy'],
    ['deployment/proxy', 'kube-system/Deployment/proxy'],
    ['kube-system/DaemonSet/proxy', 'kube-system/DaemonSet/proxy'],
  ])('may be called %s', (given, expected) => {
    expect(resolveWorkload(keys, given)).toBe(expected);
  });

  it('is not guessed', () => {
    expect(() => resolveWorkload(keys, 'proxy')).toThrow(
      'proxy: more than one workload is called that: there is kube-system/DaemonSet/proxy, kube-system/Deployment/proxy',
    );
    expect(() => resolveWorkload(keys, 'prox')).toThrow('no such workload');
    expect(() => resolveWorkload([], 'x')).toThrow('nothing is stored or known here');
  });
});

describe('text', () => {
  it.each([
    [true, {}, true],
    [true, { NO_COLOR: '1' }, false],
    [true, { NO_COLOR: '' }, true],
    [true, { TERM: 'dumb' }, false],
    [false, {}, false],
  ])('on a terminal (%j) with %j has colours: %j', (terminal, env, expected) => {
    expect(wantsColour(terminal, env)).toBe(expected);
  });

  it('keeps its columns under colours', () => {
    const painted = table(['A', 'B'], [['x', 'y']], (padded, text) => (text === 'x' ? ANSI('bad', padded) : padded));
    expect(painted).toBe('A   B\n\x1b[31mx\x1b[0m   y\n');
  });

  it.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1536, '1.5 KiB'],
    [200 * 1024 ** 2, '200 MiB'],
    [5 * 1024 ** 5, '5120 TiB'],
  ])('%i bytes are %s', (bytes, text) => {
    expect(size(bytes)).toBe(text);
  });
});
