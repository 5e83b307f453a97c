import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { CORE_SCHEMA, dump, loadAll, YAML11_SCHEMA } from 'js-yaml';
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
    expect((manifest as typeof withSecret).spec?.volumes?.[0]?.hostPath?.path).toBe(
      '/var/lib/pod-checkpointer/workloads/kube-system.ds.proxy/generations/1/files/v',
    );
    expect(stdout).toContain('# files/v/key: file 0644 0:0 9 bytes, sha256 ');
    expect(stdout).not.toMatch(/hush|aHVzaC1odXNo/);
  });

  it('reads the lists of the API server, whose items do not say what they are', async () => {
    const bare = ({ kind: _kind, ...rest }: { readonly kind?: string }) => ({ ...rest, apiVersion: undefined });
    const lists = [
      { kind: 'PodList', apiVersion: 'v1', items: [bare(withSecret)] },
      { kind: 'SecretList', apiVersion: 'v1', items: [bare(secret)] },
    ];
    const { stdout, stderr, code } = await sanitize(
      ['-f', '-', '-o', 'json'],
      lists.map((list) => `---\n${JSON.stringify(list)}\n`).join(''),
    );
    expect([code, stderr]).toEqual([0, '']);
    expect(JSON.parse(stdout).pods).toMatchObject([{ pod: 'kube-system/proxy-x7k2f', result: 'copy', manifest: { kind: 'Pod' } }]);
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

  it('warns of what the copy is made without, on standard error and beside the manifest', async () => {
    const pod = JSON.stringify(markedPod({ imagePullSecrets: [{ name: 'registry' }] }));
    const { stdout, stderr, code } = await sanitize(['-f', '-'], pod);
    expect(code).toBe(0);
    expect(stderr).toMatch(
      /^warning: kube-system\/proxy-x7k2f: ImagePullSecrets spec\.imagePullSecrets: A static pod may name no pull secret\. .*\n$/,
    );
    expect(stdout).toMatch(/^# {3}warning: ImagePullSecrets spec\.imagePullSecrets: /m);
    const { pods } = JSON.parse((await sanitize(['-f', '-', '-o', 'json'], pod)).stdout);
    expect(pods[0].warnings).toMatchObject([{ code: 'ImagePullSecrets', field: 'spec.imagePullSecrets' }]);
  });

  it('takes stringData as the API server does: it wins over data', async () => {
    const written = { ...secret, data: { key: 'b2xk', other: 'b3RoZXI=' }, stringData: { key: 'hush-hush' } };
    const { stdout, code } = await sanitize(['-f', '-', '-o', 'json'], asYaml(written, withSecret));
    const files = JSON.parse(stdout).pods[0].files.filter(({ type }: { type: string }) => type === 'file');
    expect([code, files.map(({ path, size }: { path: string; size: number }) => `${path} ${size}`)]).toEqual([0, ['v/key 9', 'v/other 5']]);
  });

  it('takes null for a member that is not there, and in a map of texts for an empty one, as the API server does', async () => {
    const config = 'kind: ConfigMap\nmetadata: {name: c, namespace: kube-system}\ndata: {empty: null, full: x}\n---\n';
    const pod = markedPod({ volumes: [{ name: 'v', configMap: { name: 'c' } }] });
    const nulls = { ...pod, status: null, spec: { ...pod.spec, initContainers: null, serviceAccountName: null, securityContext: null } };
    const { stdout, code } = await sanitize(['-f', '-', '-o', 'json'], config + asYaml(nulls));
    const [{ files, manifest }] = JSON.parse(stdout).pods;
    expect([code, files.map(({ path, size }: { path: string; size?: number }) => `${path} ${size}`)]).toEqual([
      0,
      ['v undefined', 'v/empty 0', 'v/full 1'],
    ]);
    expect(JSON.stringify(manifest)).not.toContain('null');
  });

  it('reads YAML as kubectl does, and writes it so that the kubelet reads the same', async () => {
    const words = ['yes', 'off', '0400', '1e3', '1:30', 'null', '0o17', '2026-01-01'];
    const pod = markedPod({
      volumes: [{ name: 'v', secret: { secretName: 's', defaultMode: 7 } }],
      containers: [container({ args: words })],
    });
    const { stdout, code } = await sanitize(
      ['-f', '-'],
      `${asYaml(secret)}---\n${JSON.stringify(pod).replace('"defaultMode":7', '"defaultMode": 0400')}`,
    );
    expect([code, stdout.match(/v\/key: file (\d+)/)?.[1]]).toEqual([0, '0400']);
    for (const schema of [CORE_SCHEMA, YAML11_SCHEMA])
      expect((loadAll(stdout, { schema })[0] as typeof pod).spec?.containers[0]?.args).toEqual(words);
  });

  it('prints the other pods where a document cannot be used, names it, its object and the field, and ends with 2', async () => {
    const bad = { ...secret, data: { 'tls.key': 'hush!', 'tls.crt': 'aHVzaA' } };
    const number = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'c' }, data: { port: 8080 } };
    const variable = markedPod({ containers: [container({ env: [{ name: 'A', value: 1 as unknown as string }] })] }, { name: 'typed' });
    const { stdout, stderr, code } = await sanitize(['-f', '-'], asYaml(bad, { kind: 'List', items: [number, variable] }, markedPod()));
    expect(code).toBe(2);
    expect(stdout).toContain('# kube-system/proxy-x7k2f: the copy');
    expect(stderr.trimEnd().split('\n')).toEqual([
      'error: -: document 1 (Secret kube-system/s): data["tls.key"]: is not base64. Encode it, or write it in stringData.; ' +
        'data["tls.crt"]: is not base64. Encode it, or write it in stringData.',
      'error: -: document 2, items[0] (ConfigMap c): data["port"]: expected text, found a number; put it in quotes',
      'error: -: document 2, items[1] (Pod kube-system/typed): spec.containers[0].env[0].value: expected text, found a number; put it in quotes',
    ]);
    expect(stderr).not.toContain('hush');
  });

  it('keeps in a comment what is in a comment, whatever names hold', async () => {
    const line = 'a\nkind: Evil\r\u2028b';
    const odd = markedPod({ volumes: [{ name: 'v', secret: { secretName: line } }] }, { name: line, namespace: 'x\ny' });
    const { stdout, code } = await sanitize(['-f', '-', '--explain'], JSON.stringify(odd));
    expect(code).toBe(1);
    expect(
      stdout
        .trimEnd()
        .split(/[\n\r\u2028]/)
        .every((text) => text === '---' || text.startsWith('# ')),
    ).toBe(true);
    expect(stdout).toContain('a\\u000akind: Evil\\u000d\\u2028b');
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
    ['a document that is no object', ['-f', '-'], '- 1', /^error: -: document 1: is not an object; expected a pod/],
    ['a pod without a name', ['-f', '-'], 'kind: Pod', /^error: -: document 1 \(Pod\): has no metadata.name/],
    [
      'a pod that is none',
      ['-f', '-'],
      'kind: Pod\nmetadata: {name: a}\nspec: {containers: 7}',
      /^error: -: document 1 \(Pod a\): spec.containers: expected a list, found a number$/m,
    ],
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
