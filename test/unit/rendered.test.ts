import { readFileSync } from 'node:fs';
import type { V1ConfigMap, V1EnvVar, V1Pod, V1Secret } from '@kubernetes/client-node';
import { describe, expect, it } from 'vitest';
import { makeCopy } from '../../src/checkpoint/copy.ts';
import type { Copy, CopyPolicy, ObjectLookup } from '../../src/checkpoint/copy-types.ts';
import { SERVICE, withoutService } from '../support/marked-pods.ts';

interface Entry {
  readonly type: 'file' | 'directory';
  readonly mode: string;
  readonly uid: number;
  readonly gid: number;
  readonly base64?: string;
  readonly token?: true;
}

interface Table {
  readonly allocatable: Record<string, string>;
  readonly objects: readonly (V1Secret | V1ConfigMap)[];
  readonly pods: readonly { readonly pod: V1Pod; readonly volumes: Record<string, Record<string, Entry>> }[];
  readonly environment: { readonly pod: V1Pod; readonly variables: Record<string, string> };
}

const table: Table = JSON.parse(readFileSync(new URL('../corpus/rendered/kubelet-1.36.json', import.meta.url), 'utf8'));
const TOKEN = 'a token';

const lookup: ObjectLookup = (ref) => {
  if (ref.kind === 'Token') return { state: 'present', object: { token: TOKEN, renewAt: '', expiresAt: '' } };
  if (ref.kind === 'Service') return { state: 'present', object: SERVICE };
  if (ref.kind === 'Node') return { state: 'present', object: { status: { allocatable: table.allocatable } } };
  const found = table.objects.find(
    ({ kind, metadata }) => kind === ref.kind && metadata?.namespace === ref.namespace && metadata.name === ref.name,
  );
  return found === undefined ? { state: 'absent' } : { state: 'present', object: found };
};

function copyOf(pod: V1Pod, policy: CopyPolicy): Copy {
  const outcome = makeCopy(pod, lookup, policy);
  if (outcome.kind !== 'copy') throw new Error(`no copy: ${JSON.stringify(outcome)}`);
  return outcome.copy;
}

/** The kubelet also shows two annotations that only it has, and kubectl's, which the table leaves out of the pod. */
const withoutOwn = (text: string) =>
  text.replace(/^(kubernetes\.io\/config\.(seen|source)|kubectl\.kubernetes\.io\/.*?)=".*"\n?/gm, '').trimEnd();

function entriesOf(copy: Copy, volume: string): Record<string, Entry> {
  const inside = <T extends { path: string }>(entries: readonly T[]) =>
    entries.flatMap((entry) =>
      entry.path === volume
        ? [{ ...entry, name: '.' }]
        : entry.path.startsWith(`${volume}/`)
          ? [{ ...entry, name: entry.path.slice(volume.length + 1) }]
          : [],
    );
  const octal = (mode: number) => mode.toString(8).padStart(4, '0');
  return Object.fromEntries([
    ...inside(copy.directories).map(({ name, mode, uid, gid }) => [name, { type: 'directory', mode: octal(mode), uid, gid }] as const),
    ...inside(copy.files).map(({ name, mode, uid, gid, bytes }): [string, Entry] => {
      const text = Buffer.from(bytes).toString('utf8');
      const about = { type: 'file', mode: octal(mode), uid, gid } as const;
      return [name, text === TOKEN ? { ...about, token: true } : { ...about, base64: Buffer.from(bytes).toString('base64') }];
    }),
  ]);
}

describe('what a real kubelet rendered', () => {
  const volumes = table.pods.flatMap(({ pod, volumes }) => Object.entries(volumes).map(([name, entries]) => ({ pod, name, entries })));

  it('covers users, groups and modes', () => {
    expect(table.pods.length).toBeGreaterThanOrEqual(7);
    expect(volumes.flatMap(({ entries }) => Object.keys(entries)).length).toBeGreaterThan(350);
  });

  it.each(volumes.map((given) => [`${given.pod.metadata?.name}/${given.name}`, given] as const))(
    'is what the copy has: %s',
    (_, { pod, name, entries }) => {
      // The kubelet took this Secret's bytes into variables, too; the runtime then refused to start the container.
      const withoutEnv = {
        ...pod,
        spec: { ...pod.spec, containers: (pod.spec?.containers ?? []).map(({ env: _e, envFrom: _f, ...rest }) => rest) },
      };
      const ours = entriesOf(copyOf(withoutEnv, { secretEnv: 'refuse' }), name.replace(/^(kube-api-access)-.{5}$/, '$1'));
      const annotations = entries['annotations']?.base64;
      if (annotations !== undefined) {
        const text = (base64: string | undefined) => withoutOwn(Buffer.from(base64 ?? '', 'base64').toString('utf8'));
        expect(text(ours['annotations']?.base64)).toBe(text(annotations));
      }
      const rest = ({ annotations: _a, ...others }: Record<string, Entry>) => others;
      expect(rest(ours)).toEqual(rest(entries));
    },
  );

  it('is what the containers of the copy see as variables, once the kubelet has expanded them', () => {
    const { pod, variables } = table.environment;
    const { env = [] } = copyOf(pod, { secretEnv: 'inline' }).pod.spec?.containers[0] ?? {};
    // The table leaves the variables of Services out.
    expect(expanded(withoutService(env) ?? [])).toEqual(variables);
  });
});

/** `$(NAME)` and `$$` as the kubelet expands them (k8s.io/kubernetes/third_party/forked/golang/expansion). */
function expanded(env: readonly V1EnvVar[]): Record<string, string> {
  const known: Record<string, string> = {};
  for (const { name, value = '', valueFrom } of env) {
    known[name] =
      valueFrom?.fieldRef?.fieldPath === 'spec.nodeName'
        ? 'node1'
        : value.replace(/\$\$|\$\(([^)]*)\)/g, (whole, variable: string | undefined) =>
            variable === undefined ? '$' : Object.hasOwn(known, variable) ? (known[variable] ?? '') : whole,
          );
  }
  return known;
}
