import type { V1PodSpec, V1Volume } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import type { CopyPolicy } from '../../src/checkpoint/copy-types.ts';
import { configMap, container, copyOf, filesOf, markedPod, type Objects, REFUSE, refusalsOf, secret } from '../support/marked-pods.ts';

const objects: Objects = {
  'Secret/s': secret({ 'tls.crt': 'certificate', 'tls.key': 'key', binary: new Uint8Array([0, 255, 10]) }),
  'ConfigMap/c': configMap({ conf: 'text', both: 'from data' }, { blob: new Uint8Array([254, 0]), both: new Uint8Array([1]) }),
};

const copyWith = (source: Omit<V1Volume, 'name'>, spec: Partial<V1PodSpec> = {}, policy: CopyPolicy = REFUSE, metadata = {}) =>
  copyOf(markedPod({ volumes: [{ name: 'v', ...source }], ...spec }, metadata), objects, policy);
const reasons = (source: Omit<V1Volume, 'name'>, spec: Partial<V1PodSpec> = {}, more: Objects = {}) =>
  refusalsOf(markedPod({ volumes: [{ name: 'v', ...source }], ...spec }), { ...objects, ...more }).map(
    ({ code, field }) => `${code} ${field}`,
  );
const modes = (copy: ReturnType<typeof copyWith>) => Object.fromEntries(copy.files.map((f) => [f.path, f.mode.toString(8)]));

describe('Secret and ConfigMap volumes', () => {
  it('become a directory of the generation with every key, readable as the API server’s default says', () => {
    const copy = copyWith({ secret: { secretName: 's' } });
    expect(copy.pod.spec?.volumes).toEqual([{ name: 'v', hostPath: { path: '@generation@/files/v', type: 'Directory' } }]);
    expect(copy.directories).toEqual([{ path: 'v', mode: 0o1777, uid: 0, gid: 0 }]);
    expect(modes(copy)).toEqual({ 'v/binary': '644', 'v/tls.crt': '644', 'v/tls.key': '644' });
    expect(copy.files[0]).toEqual({ path: 'v/binary', bytes: new Uint8Array([0, 255, 10]), mode: 0o644, uid: 0, gid: 0 });
  });

  it('of a ConfigMap carry text and binary data', () => {
    const copy = copyWith({ configMap: { name: 'c', defaultMode: 0o440 } });
    expect(modes(copy)).toEqual({ 'v/blob': '440', 'v/both': '440', 'v/conf': '440' });
    expect(filesOf(copy)['v/both']).toBe('from data');
    expect(copy.files.find((f) => f.path === 'v/blob')?.bytes).toEqual(new Uint8Array([254, 0]));
  });

  it('carry empty values, keys with dots, and a MiB', () => {
    const large = new Uint8Array(1024 * 1024).fill(7);
    const volumes = [{ name: 'v', secret: { secretName: 'large' } }];
    const { files } = copyOf(markedPod({ volumes }), { 'Secret/large': { ...secret({ '.a.b': large, 'c.': '' }), immutable: true } });
    expect(files.map(({ path, bytes }) => [path, bytes.length])).toEqual([
      ['v/.a.b', 1024 * 1024],
      ['v/c.', 0],
    ]);
    expect(Buffer.compare(files[0]?.bytes ?? new Uint8Array(), large)).toBe(0);
  });

  it('with items carry only these, at their paths, with their modes', () => {
    const items = [
      { key: 'tls.key', path: 'deep/down/key', mode: 0o400 },
      { key: 'tls.crt', path: './certificate' },
    ];
    const copy = copyWith({ secret: { secretName: 's', defaultMode: 0o444, items } });
    expect(filesOf(copy)).toEqual({ 'v/certificate': 'certificate', 'v/deep/down/key': 'key' });
    expect(modes(copy)).toEqual({ 'v/certificate': '444', 'v/deep/down/key': '400' });
    expect(copy.directories.map((d) => d.path)).toEqual(['v', 'v/deep', 'v/deep/down']);
  });

  it('that are optional and absent are empty directories', () => {
    const copy = copyWith({ secret: { secretName: 'none', optional: true, items: [{ key: 'k', path: 'k' }] } });
    expect(copy.files).toEqual([]);
    expect(copy.directories.map((d) => d.path)).toEqual(['v']);
  });

  it('that are optional leave out keys that are missing', () => {
    const items = [
      { key: 'none', path: 'none' },
      { key: 'conf', path: 'conf' },
    ];
    expect(filesOf(copyWith({ configMap: { name: 'c', optional: true, items } }))).toEqual({ 'v/conf': 'text' });
  });

  it('with a key that is missing are refused, naming it', () => {
    const items = [
      { key: 'conf', path: 'conf' },
      { key: 'none', path: 'none' },
    ];
    expect(reasons({ configMap: { name: 'c', items } })).toEqual(['MissingKey spec.volumes[0].configMap.items[1].key']);
    const [refusal] = refusalsOf(
      markedPod({ volumes: [{ name: 'v', secret: { secretName: 's', items: [{ key: 'none', path: 'p' }] } }] }),
      objects,
    );
    expect(refusal?.message).toContain('Secret kube-system/s has no key "none"');
  });

  it('are mounted read-only, as the kubelet mounts them, and other mounts stay as they are', () => {
    const volumes = [
      { name: 'v', secret: { secretName: 's' } },
      { name: 'w', emptyDir: {} },
    ];
    const volumeMounts = [
      { name: 'v', mountPath: '/secret', subPath: 'tls.crt' },
      { name: 'w', mountPath: '/work' },
    ];
    const initContainers = [container({ name: 'init', volumeMounts })];
    const { spec } = copyWith({}, { volumes, containers: [container({ volumeMounts })], initContainers }).pod;
    for (const c of [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])])
      expect(c.volumeMounts).toEqual([
        { name: 'v', mountPath: '/secret', subPath: 'tls.crt', readOnly: true },
        { name: 'w', mountPath: '/work' },
      ]);
  });
});

describe('the group that fsGroup names', () => {
  it('owns files and directories and may read them, and directories hand it on', () => {
    const items = [
      { key: 'tls.key', path: 'a/key', mode: 0o400 },
      { key: 'tls.crt', path: 'crt' },
    ];
    const copy = copyWith({ secret: { secretName: 's', items } }, { securityContext: { fsGroup: 65534 } });
    expect(copy.directories).toEqual([
      { path: 'v', mode: 0o3777, uid: 0, gid: 65534 },
      { path: 'v/a', mode: 0o2755, uid: 0, gid: 65534 },
    ]);
    expect(copy.files.map(({ path, mode, uid, gid }) => [path, mode.toString(8), uid, gid])).toEqual([
      ['v/a/key', '440', 0, 65534],
      ['v/crt', '644', 0, 65534],
    ]);
  });

  it('is 0 where none is set: runAsUser alone changes no owner', () => {
    const copy = copyWith({ secret: { secretName: 's', defaultMode: 0o400 } }, { securityContext: { runAsUser: 65534 } });
    expect(copy.files.every((f) => f.uid === 0 && f.gid === 0 && f.mode === 0o400)).toBe(true);
  });

  it('is refused where it is not a group id', () => {
    expect(reasons({ secret: { secretName: 's' } }, { securityContext: { fsGroup: -1 } })).toEqual([
      'InvalidGroup spec.securityContext.fsGroup',
    ]);
  });
});

describe('downward API volumes', () => {
  const metadata = {
    labels: { 'b-label': 'two', a: 'one' },
    annotations: { plain: 'text', 'example.org/hard': 'a "quoted"\\ line\nand \u0001\u007f \u00e9 \u200b \u{1f600} \u{e0001}' },
  };
  const field = (fieldPath: string, path = 'f') => ({ path, fieldRef: { fieldPath } });

  it('carry labels and annotations as the kubelet writes them: sorted, quoted as in Go', () => {
    const items = [field('metadata.labels', 'labels'), field('metadata.annotations', 'podinfo/annotations')];
    const files = filesOf(copyWith({ downwardAPI: { items } }, {}, REFUSE, metadata));
    expect(files['v/labels']).toBe('a="one"\nb-label="two"');
    expect(files['v/podinfo/annotations']?.split('\n')).toEqual([
      'checkpointer.alpha.coreos.com/checkpoint="true"',
      'example.org/hard="a \\"quoted\\"\\\\ line\\nand \\x01\\x7f é \\u200b 😀 \\U000e0001"',
      'plain="text"',
    ]);
  });

  it.each([
    ['metadata.name', 'proxy-x7k2f'],
    ['metadata.namespace', 'kube-system'],
    ['metadata.uid', '5b1f8c1e-0000-4000-8000-000000000001'],
    ["metadata.labels['a']", 'one'],
    ["metadata.labels['none']", ''],
    ["metadata.labels['constructor']", ''],
    ["metadata.annotations['plain']", 'text'],
  ])('carry %s of the parent', (path, expected) => {
    expect(filesOf(copyWith({ downwardAPI: { items: [field(path)] } }, {}, REFUSE, metadata))).toEqual({ 'v/f': expected });
  });

  it('with a field that is not known are refused', () => {
    expect(reasons({ downwardAPI: { items: [field('metadata.generation')] } })).toEqual([
      'UnsupportedField spec.volumes[0].downwardAPI.items[0].fieldRef',
    ]);
    expect(reasons({ downwardAPI: { items: [{ path: 'f' }] } })).toEqual(['UnsupportedField spec.volumes[0].downwardAPI.items[0]']);
  });

  const containers = [
    container({
      resources: {
        requests: { cpu: '250m', memory: '100Mi', 'ephemeral-storage': '1.5Gi', 'hugepages-2Mi': '4Mi' },
        limits: { cpu: '1500m', memory: '1G', 'hugepages-2Mi': '4Mi' },
      },
    }),
  ];
  it.each([
    ['requests.cpu', undefined, '1'],
    ['requests.cpu', '0', '1'],
    ['requests.cpu', '1m', '250'],
    ['limits.cpu', '1', '2'],
    ['limits.cpu', '1m', '1500'],
    ['requests.memory', '1Mi', '100'],
    ['requests.memory', '1', '104857600'],
    ['limits.memory', '1Mi', '954'],
    ['limits.memory', '1Ki', '976563'],
    ['requests.ephemeral-storage', '1Gi', '2'],
    ['limits.hugepages-2Mi', '1Mi', '4'],
    ['limits.hugepages-1Gi', '1Mi', '0'],
  ])('write %s in units of %s as %s', (resource, divisor, expected) => {
    const items = [{ path: 'f', resourceFieldRef: { containerName: 'proxy', resource, ...(divisor !== undefined && { divisor }) } }];
    expect(filesOf(copyWith({ downwardAPI: { items } }, { containers }))).toEqual({ 'v/f': expected });
  });

  it('round what is less than the smallest unit up', () => {
    const small = [container({ resources: { requests: { cpu: '1n', memory: '100.5' } } })];
    const ref = (resource: string, divisor: string) => ({ containerName: 'proxy', resource: `requests.${resource}`, divisor });
    const items = [
      { path: 'cpu', resourceFieldRef: ref('cpu', '1m') },
      { path: 'memory', resourceFieldRef: ref('memory', '1') },
    ];
    expect(filesOf(copyWith({ downwardAPI: { items } }, { containers: small }))).toEqual({ 'v/cpu': '1', 'v/memory': '101' });
  });

  it('write 0 for a request that is not set', () => {
    const items = [{ path: 'f', resourceFieldRef: { containerName: 'proxy', resource: 'requests.cpu' } }];
    expect(filesOf(copyWith({ downwardAPI: { items } }))).toEqual({ 'v/f': '0' });
  });

  it('write what the node can give for a limit that is not set, and are refused where that is not known', () => {
    const items = [{ path: 'f', resourceFieldRef: { containerName: 'proxy', resource: 'limits.memory', divisor: '1Mi' } }];
    const policy = { ...REFUSE, nodeAllocatable: { memory: '2Gi' } };
    expect(filesOf(copyWith({ downwardAPI: { items } }, {}, policy))).toEqual({ 'v/f': '2048' });
    const none = [container({ resources: { limits: { memory: '0' } } })];
    expect(filesOf(copyWith({ downwardAPI: { items } }, { containers: none }, policy))).toEqual({ 'v/f': '2048' });
    expect(reasons({ downwardAPI: { items } })).toEqual(['ResourceLimitNotSet spec.volumes[0].downwardAPI.items[0].resourceFieldRef']);
  });

  it('with a container or a resource that is not known are refused', () => {
    const ref = (containerName: string, resource: string) =>
      reasons({ downwardAPI: { items: [{ path: 'f', resourceFieldRef: { containerName, resource } }] } });
    expect(ref('none', 'limits.cpu')).toEqual(['UnsupportedField spec.volumes[0].downwardAPI.items[0].resourceFieldRef']);
    expect(ref('proxy', 'limits.gpu')).toEqual(['UnsupportedField spec.volumes[0].downwardAPI.items[0].resourceFieldRef']);
  });
});

describe('projected volumes', () => {
  it('of Secrets, ConfigMaps and fields are one directory, a later source wins', () => {
    const sources = [
      {
        secret: {
          name: 's',
          items: [
            { key: 'tls.key', path: 'same' },
            { key: 'tls.crt', path: 'x/crt', mode: 0o400 },
          ],
        },
      },
      { configMap: { name: 'c', items: [{ key: 'conf', path: 'same' }] } },
      { configMap: { name: 'none', optional: true } },
      { downwardAPI: { items: [{ path: 'namespace', fieldRef: { fieldPath: 'metadata.namespace' } }] } },
    ];
    const copy = copyWith({ projected: { sources, defaultMode: 0o600 } });
    expect(filesOf(copy)).toEqual({ 'v/namespace': 'kube-system', 'v/same': 'text', 'v/x/crt': 'certificate' });
    expect(modes(copy)).toEqual({ 'v/namespace': '600', 'v/same': '600', 'v/x/crt': '400' });
  });

  it('name the source in what is refused', () => {
    expect(reasons({ projected: { sources: [{ configMap: { name: 'c', items: [{ key: 'none', path: 'p' }] } }] } })).toEqual([
      'MissingKey spec.volumes[0].projected.sources[0].configMap.items[0].key',
    ]);
  });
});

describe('mounts within a read-only volume', () => {
  it('find their mount point: a directory, only for the outer of two, and none where a file lies', () => {
    const volumeMounts = [
      { name: 'v', mountPath: '/etc/secret/' },
      { name: 'w', mountPath: '/etc/secret/inner/dir' },
      { name: 'w', mountPath: '/etc/secret/inner/dir/inmost' },
      { name: 'w', mountPath: '/etc/secret/tls.crt', subPath: 'file' },
      { name: 'w', mountPath: '/etc/secrets' },
    ];
    const volumes = [
      { name: 'v', secret: { secretName: 's' } },
      { name: 'w', emptyDir: {} },
    ];
    const copy = copyWith({}, { volumes, containers: [container({ volumeMounts })] });
    expect(copy.directories.map((d) => d.path)).toEqual(['v', 'v/inner', 'v/inner/dir']);
  });

  it('of a subPath that does not exist get the directory that the kubelet would make', () => {
    const volumeMounts = [
      { name: 'v', mountPath: '/a', subPath: 'none' },
      { name: 'v', mountPath: '/b', subPath: 'tls.crt' },
    ];
    expect(copyWith({ secret: { secretName: 's' } }, { containers: [container({ volumeMounts })] }).directories.map((d) => d.path)).toEqual(
      ['v', 'v/none'],
    );
  });
});

describe('nothing is written outside a volume', () => {
  it.each([
    ['absolute', '/etc/passwd'],
    ['upward', '../up'],
    ['upward on its way', 'a/../../up'],
    ['the directory above', '..'],
    ['in the kubelet’s own names', '..data/x'],
    ['empty', ''],
    ['the directory itself', '.'],
    ['with a NUL byte', 'a\0b'],
    ['with a name too long', 'n'.repeat(256)],
    ['too long', `${'d/'.repeat(2100)}f`],
  ])('whatever the path of an item is: %s', (_, path) => {
    expect(reasons({ secret: { secretName: 's', items: [{ key: 'tls.crt', path }] } })).toEqual([
      'UnsafePath spec.volumes[0].secret.items[0]',
    ]);
    expect(reasons({ downwardAPI: { items: [{ path, fieldRef: { fieldPath: 'metadata.name' } }] } })).toEqual([
      'UnsafePath spec.volumes[0].downwardAPI.items[0]',
    ]);
  });

  it.each(['../up', '/abs', '..'])('whatever the key of an object says: %j', (key) => {
    expect(reasons({ secret: { secretName: 'evil' } }, {}, { 'Secret/evil': secret({ [key]: 'x' }) })).toEqual([
      'UnsafePath spec.volumes[0].secret',
    ]);
  });

  it.each(['../x', 'A', '', 'a/b', 'x'.repeat(64)])('whatever the name of a volume says: %j', (name) => {
    expect(refusalsOf(markedPod({ volumes: [{ name, secret: { secretName: 's' } }] }), objects).map(({ code }) => code)).toEqual([
      'InvalidVolumeName',
    ]);
  });

  it('whatever a mount says', () => {
    const mounted = (mount: object) =>
      reasons({ secret: { secretName: 's' } }, { containers: [container({ volumeMounts: [{ name: 'v', mountPath: '/s', ...mount }] })] });
    expect(mounted({ subPath: '../../etc' })).toEqual(['UnsafePath spec.volumes[0]']);
    expect(mounted({ subPath: '/etc' })).toEqual(['UnsafePath spec.volumes[0]']);
  });

  it('nor with a mode beyond permissions', () => {
    expect(reasons({ secret: { secretName: 's', items: [{ key: 'tls.crt', path: 'p', mode: 0o4755 }] } })).toEqual([
      'InvalidMode spec.volumes[0].secret.items[0]',
    ]);
    expect(reasons({ downwardAPI: { defaultMode: -1, items: [{ path: 'p', fieldRef: { fieldPath: 'metadata.name' } }] } })).toEqual([
      'InvalidMode spec.volumes[0].downwardAPI.items[0]',
    ]);
  });

  it('nor where a path would be a file and a directory', () => {
    const items = [
      { key: 'tls.crt', path: 'a' },
      { key: 'tls.key', path: 'a/b' },
    ];
    expect(reasons({ secret: { secretName: 's', items } })).toEqual(['PathConflict spec.volumes[0]']);
  });

  it('nor for two volumes of one name', () => {
    const volumes = [
      { name: 'v', secret: { secretName: 's' } },
      { name: 'v', configMap: { name: 'c' } },
    ];
    expect(refusalsOf(markedPod({ volumes }), objects).map(({ code, field }) => `${code} ${field}`)).toEqual([
      'InvalidVolumeName spec.volumes[1].name',
    ]);
  });
});
