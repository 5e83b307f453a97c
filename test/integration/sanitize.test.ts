import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { CORE_SCHEMA, dump, loadAll } from 'js-yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { violations } from '../../src/checkpoint/static-pod-rules.ts';
import { container, markedPod } from '../support/marked-pods.ts';

const CLI = new URL('../../src/cli.ts', import.meta.url).pathname;
const CORPUS = new URL('../corpus/', import.meta.url).pathname;

async function sanitize(args: readonly string[], input = '') {
  const child = spawn(process.execPath, [CLI, 'sanitize', ...args], { stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.end(input);
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve));
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended]);
  return { stdout, stderr, code };
}

const asYaml = (...documents: object[]) => documents.map((document) => `---\n${dump(document, { schema: CORE_SCHEMA })}`).join('');
const secret = {
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name: 's', namespace: 'kube-system' },
  data: { key: Buffer.from('hush-hush').toString('base64') },
};
const withSecret = markedPod({ volumes: [{ name: 'v', secret: { secretName: 's' } }] });
const refused = markedPod({ volumes: [{ name: 'v', csi: { driver: 'd' } }] }, { name: 'refused' });

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sanitize-'));
  await writeFile(join(directory, 'secret.yaml'), asYaml(secret));
  await writeFile(join(directory, 'pod.yaml'), asYaml(withSecret));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

describe('sanitize', () => {
  it('prints a manifest that the kubelet takes, with the files beside it, and nothing of a Secret', async () => {
    const { stdout, stderr, code } = await sanitize(['-f', join(directory, 'pod.yaml'), '--objects', directory]);
    expect([code, stderr]).toEqual([0, '']);
    const [manifest] = loadAll(stdout, { schema: CORE_SCHEMA });
    expect(violations(manifest as typeof withSecret)).toEqual([]);
    expect(stdout).toContain('# files/v/key: file 0644 0:0 9 bytes, sha256 ');
    expect(stdout).not.toMatch(/hush|aHVzaC1odXNo/);
  });

  it('reads several documents, Lists and objects beside them from standard input', async () => {
    const list = { apiVersion: 'v1', kind: 'List', items: [withSecret, secret] };
    const { stdout, code } = await sanitize(['-f', '-', '-o', 'json'], asYaml(list, markedPod({}, { name: 'second' })));
    const { version, pods } = JSON.parse(stdout);
    expect([code, version]).toEqual([0, 1]);
    expect(pods.map((pod: { pod: string; result: string }) => `${pod.pod} ${pod.result}`)).toEqual([
      'kube-system/proxy-x7k2f copy',
      'kube-system/second copy',
    ]);
    expect(pods[0].files).toMatchObject([
      { path: 'v', type: 'directory', mode: '1777' },
      { path: 'v/key', type: 'file', size: 9 },
    ]);
  });

  it('prints the reasons where there is no copy, names the objects that are missing, and ends with 1', async () => {
    const { stdout, stderr, code } = await sanitize(['-f', '-'], asYaml(refused, withSecret));
    expect(code).toBe(1);
    expect(stdout).toContain('#   CsiVolume spec.volumes[0].csi: ');
    expect(stdout).toContain('#   Secret kube-system/s\n');
    expect(stderr).toBe('error: 2 of 2 pods have no copy: the reasons are in the output\n');
    expect(loadAll(stdout).filter((document) => document !== null && document !== undefined)).toEqual([]);
  });

  it('says for each change which rule made it', async () => {
    const pod = markedPod({
      serviceAccountName: 'x',
      hostNetwork: true,
      containers: [container({ imagePullPolicy: 'Always', ports: [{ containerPort: 1 }] })],
    });
    const { stdout } = await sanitize(['-f', '-', '--explain', '-o', 'json', '--kubernetes-service', '10.0.0.1:6443'], JSON.stringify(pod));
    const { changes } = JSON.parse(stdout).pods[0];
    expect(changes.map(({ field }: { field: string }) => field)).toEqual(
      expect.arrayContaining([
        'metadata',
        'spec.serviceAccountName',
        'spec.nodeName',
        'spec.tolerations',
        'spec.containers[0].ports',
        'spec.containers[0].imagePullPolicy',
        'spec.containers[0].env',
      ]),
    );
    for (const { rule } of changes) expect(rule.length).toBeGreaterThan(10);
  });

  it('copies what a real API server returned, with the token as a placeholder', async () => {
    const { stdout, code } = await sanitize([
      '-f',
      join(CORPUS, 'bootkube/kube-controller-manager.json'),
      '--objects',
      join(CORPUS, 'bootkube'),
    ]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/# files\/kube-api-access\/token: token 0600 65534:0\n/);
  });

  it.each([
    ['a file that is not there', ['-f', '/none.yaml'], '', /^error: -f \/none.yaml: cannot be read \(ENOENT\); expected a file with a pod/],
    ['a directory that is not there', ['-f', '-', '--objects', '/none'], 'kind: Pod', /^error: --objects \/none: cannot be read/],
    ['what is not YAML', ['-f', '-'], '{', /^error: -: is neither YAML nor JSON: /],
    ['what holds no pod', ['-f', '-'], 'kind: Secret', /^error: -: holds no Pod; give a pod as the API server returns it/],
    ['a document that is no object', ['-f', '-'], '- 1', /^error: -: a document in it is not an object/],
    ['a pod without a name', ['-f', '-'], 'kind: Pod', /^error: -: pod 1: has no metadata.name/],
    ['a pod that is none', ['-f', '-'], 'kind: Pod\nmetadata: {name: a}\nspec: {containers: 7}', /^error: -: pod 1 cannot be understood: /],
    [
      'a wrong address',
      ['-f', '-', '--kubernetes-service', 'x'],
      'kind: Pod\nmetadata: {name: a}',
      /^error: --kubernetes-service x: expected host:port/,
    ],
    ['nothing', [], '', /^error: required option '-f, --filename <file>' not specified/],
  ])('answers %s with one line and exit code 2', async (_, args, input, expected) => {
    const { stdout, stderr, code } = await sanitize(args, input);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(expected);
    expect(stderr.trimEnd().split('\n')).toHaveLength(1);
  });
});
