/**
 * `--credentials=secrets`: certificates, keys and kubeconfigs that the static pod has from the host's files go into one Secret for each component, mounted in
 * the same place. Rotated by editing the Secret: the checkpointer sees that and keeps a new generation. Pure; the files' bytes are given.
 *
 * One Secret serves all masters, so what only one of them can use is refused: a serving certificate without the node's address, a kubeconfig that names
 * another API server.
 */
import { X509Certificate } from 'node:crypto';
import type { V1Container, V1DaemonSet, V1Pod, V1Secret, V1Volume, V1VolumeMount } from '@kubernetes/client-node';
import { type Component, isMainContainer, mainContainer, NAMESPACE, type Refusal } from './component.ts';
import { flagsOf, flagValue, mapLines, withFlag } from './flags.ts';

/** What the API server is to have for one component. */
export interface Wanted {
  readonly daemonSet: V1DaemonSet;
  readonly secrets: readonly V1Secret[];
}

export const credentialsSecret = (component: Component): string => `${component}-credentials`;
/** Where single files are mounted: a Secret that is mounted over one file (subPath) is never updated by the kubelet. */
const DIRECTORY = '/etc/kubernetes/credentials';
/** A key of a Secret has no slash. */
const keyOf = (path: string): string => path.replaceAll('/', '--');

/** A file of the host that a flag of the component names, by way of one of its hostPath volumes. */
export interface CredentialFile {
  readonly flags: readonly string[];
  /** On the host. */
  readonly path: string;
  readonly volume: string;
  readonly key: string;
  /** In the volume; empty where the volume is the file itself. */
  readonly inVolume: string;
  /** In the container. */
  readonly mounted: string;
}

/** Files of the control plane's own directory only: those of the system (CA bundles) stay where they are. */
export function credentialFiles(component: Component, pod: V1Pod): CredentialFile[] {
  const main = mainContainer(component, pod.spec?.containers ?? []);
  if (main === undefined) return [];
  const volumes = new Map((pod.spec?.volumes ?? []).map((volume) => [volume.name, volume.hostPath?.path]));
  const files = new Map<string, CredentialFile>();
  for (const [flag, value] of flagsOf(main)) {
    if (!value.startsWith('/etc/kubernetes/')) continue;
    const mount = mountOf(value, main.volumeMounts ?? []);
    const host = mount === undefined ? undefined : volumes.get(mount.name);
    if (mount === undefined || host === undefined) continue;
    const inVolume = value === mount.mountPath ? '' : value.slice(mount.mountPath.length + 1);
    const base = value.slice(value.lastIndexOf('/') + 1);
    const known = files.get(value);
    files.set(value, {
      flags: [...(known?.flags ?? []), flag],
      path: inVolume === '' ? host : `${host}/${inVolume}`,
      volume: mount.name,
      key: keyOf(inVolume === '' ? base : inVolume),
      inVolume,
      mounted: inVolume === '' ? `${DIRECTORY}/${base}` : value,
    });
  }
  return [...files.values()];
}

function mountOf(path: string, mounts: readonly V1VolumeMount[]): V1VolumeMount | undefined {
  return mounts
    .filter(({ mountPath }) => path === mountPath || path.startsWith(`${mountPath}/`))
    .toSorted((a, b) => b.mountPath.length - a.mountPath.length)[0];
}

export function secretOf(component: Component, files: readonly CredentialFile[], bytes: ReadonlyMap<string, Buffer>): V1Secret {
  const data = Object.fromEntries(files.map(({ key, path }) => [key, (bytes.get(path) ?? Buffer.alloc(0)).toString('base64')]));
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: credentialsSecret(component), namespace: NAMESPACE, labels: { tier: 'control-plane', 'k8s-app': component } },
    type: 'Opaque',
    data,
  };
}

/** The DaemonSet with the Secret in place of the files. */
export function withSecrets(component: Component, pod: V1Pod, daemonSet: V1DaemonSet): V1DaemonSet {
  const files = credentialFiles(component, pod);
  const spec = daemonSet.spec?.template.spec;
  if (files.length === 0 || spec === undefined || daemonSet.spec === undefined) return daemonSet;
  const single = files.filter(({ inVolume }) => inVolume === '');
  const replaced = (name: string) => files.filter(({ volume }) => volume === name);
  const items = (of: readonly CredentialFile[], path: (file: CredentialFile) => string) =>
    of.map((file) => ({ key: file.key, path: path(file) }));
  const volumes: V1Volume[] = (spec.volumes ?? []).flatMap((volume): V1Volume[] => {
    const inside = replaced(volume.name).filter(({ inVolume }) => inVolume !== '');
    if (inside.length > 0)
      return [
        {
          name: volume.name,
          secret: secretVolume(
            component,
            items(inside, ({ inVolume }) => inVolume),
          ),
        },
      ];
    return replaced(volume.name).length > 0 ? [] : [volume];
  });
  if (single.length > 0)
    volumes.push({
      name: 'credentials',
      secret: secretVolume(
        component,
        items(single, ({ key }) => key),
      ),
    });
  const names = new Set(volumes.map(({ name }) => name));
  const containers = spec.containers.map((container): V1Container => {
    const mounts = (container.volumeMounts ?? []).filter(({ name }) => names.has(name));
    if (!isMainContainer(component, container)) return { ...container, volumeMounts: mounts };
    const mounted = single.length > 0 ? [...mounts, { name: 'credentials', mountPath: DIRECTORY, readOnly: true }] : mounts;
    const flagged = single.reduce((one, { flags, mounted: to }) => flags.reduce((line, flag) => withFlag(line, flag, to), one), container);
    return { ...flagged, volumeMounts: mounted };
  });
  return withSpec(daemonSet, { ...spec, volumes, containers });
}

function secretVolume(component: Component, items: { readonly key: string; readonly path: string }[]) {
  return { secretName: credentialsSecret(component), items, defaultMode: 0o400 };
}

function withSpec(daemonSet: V1DaemonSet, spec: NonNullable<NonNullable<V1DaemonSet['spec']>['template']['spec']>): V1DaemonSet {
  return daemonSet.spec === undefined
    ? daemonSet
    : { ...daemonSet, spec: { ...daemonSet.spec, template: { ...daemonSet.spec.template, spec } } };
}

/** The way back: files of the host in place of the Secret, where that is what the pivot put there. `pod` is the static pod as it was. */
export function fromSecrets(component: Component, pod: V1Pod, daemonSet: V1DaemonSet): V1DaemonSet {
  const spec = daemonSet.spec?.template.spec;
  const secret = credentialsSecret(component);
  const ours = new Set((spec?.volumes ?? []).filter((volume) => volume.secret?.secretName === secret).map(({ name }) => name));
  if (spec === undefined || ours.size === 0) return daemonSet;
  const files = credentialFiles(component, pod);
  const lost = (pod.spec?.volumes ?? []).filter(({ name }) => files.some(({ volume }) => volume === name));
  const volumes = [...(spec.volumes ?? []).filter(({ name }) => !ours.has(name)), ...lost];
  const old = mainContainer(component, pod.spec?.containers ?? []);
  const containers = spec.containers.map((container): V1Container => {
    if (!isMainContainer(component, container)) return container;
    const kept = (container.volumeMounts ?? []).filter(({ name }) => !ours.has(name));
    const back = (old?.volumeMounts ?? []).filter(({ name }) => lost.some((volume) => volume.name === name));
    const places = new Map(files.map(({ mounted, flags }) => [mounted, flagValue(old ?? {}, flags[0] ?? '')]));
    const line = mapLines(container, (words) =>
      words.map((word) => {
        const value = word.slice(word.indexOf('=') + 1);
        const place = word.includes('=') ? places.get(value) : undefined;
        return place === undefined ? word : `${word.slice(0, word.indexOf('='))}=${place}`;
      }),
    );
    return { ...line, volumeMounts: [...kept, ...back] };
  });
  return withSpec(daemonSet, { ...spec, volumes, containers });
}

/** Each API server has its own of these, and any of them will do for all: they say that it is one, not which. */
const INTERCHANGEABLE = [
  'kubelet-client-certificate',
  'kubelet-client-key',
  'proxy-client-cert-file',
  'proxy-client-key-file',
  'etcd-certfile',
  'etcd-keyfile',
];
const SERVING = ['tls-cert-file', 'tls-private-key-file'];

/** What of the Secret that is there (another master's) this node cannot use. No value of it is ever in a message. */
export function secretRefusals(
  component: Component,
  files: readonly CredentialFile[],
  bytes: ReadonlyMap<string, Buffer>,
  there: V1Secret | undefined,
  hostIP: string,
): Refusal[] {
  return files.flatMap(({ flags, path, key }): Refusal[] => {
    const what = `--${flags[0] ?? ''}`;
    const mine = bytes.get(path);
    if (mine === undefined) return [{ component, what, message: `${path} cannot be read: expected the file that the static pod uses` }];
    const refs = isKubeconfig(mine) ? namedFiles(mine) : [];
    if (refs.length > 0)
      return [
        {
          component,
          what,
          message: `${path} names other files (${refs.join(', ')}): a kubeconfig in a Secret must hold its certificates itself`,
        },
      ];
    if (there === undefined) return [];
    const name = `Secret ${NAMESPACE}/${credentialsSecret(component)}`;
    const theirs = Buffer.from(there.data?.[key] ?? '', 'base64');
    if (theirs.equals(mine) || flags.every((flag) => INTERCHANGEABLE.includes(flag))) return [];
    if (flags.every((flag) => SERVING.includes(flag)))
      return flags.includes('tls-cert-file') && !servesFor(theirs, hostIP)
        ? [
            {
              component,
              what,
              message: `the certificate in ${name} is not valid for ${hostIP}: issue one for all masters (kubeadm's certSANs), or use --credentials=files`,
            },
          ]
        : [];
    if (isKubeconfig(mine) && serverOf(mine) === serverOf(theirs)) return [];
    return [
      {
        component,
        what,
        message: `${path} is another one than ${key} of ${name}, and there can be only one for all masters: make them the same, or use --credentials=files`,
      },
    ];
  });
}

const isKubeconfig = (bytes: Buffer): boolean => /^kind:\s*Config\s*$/m.test(bytes.toString('utf8'));
const serverOf = (bytes: Buffer): string | undefined => /^\s*server:\s*(\S+)/m.exec(bytes.toString('utf8'))?.[1];

function namedFiles(bytes: Buffer): string[] {
  return [...bytes.toString('utf8').matchAll(/^\s*(?:certificate-authority|client-certificate|client-key|tokenFile):\s*(\S+)/gm)].map(
    (match) => match[1] ?? '',
  );
}

function servesFor(pem: Buffer, address: string): boolean {
  try {
    return new X509Certificate(pem).checkIP(address) !== undefined;
  } catch {
    return false;
  }
}

/** Files whose content the Secret no longer has: on the way back they would be used again. Paths only. */
export function rotatedFiles(
  files: readonly CredentialFile[],
  bytes: ReadonlyMap<string, Buffer>,
  there: V1Secret | undefined,
): CredentialFile[] {
  return files.filter(({ key, path }) => {
    const theirs = there?.data?.[key];
    return theirs !== undefined && bytes.get(path)?.equals(Buffer.from(theirs, 'base64')) !== true;
  });
}

/** Who may do what with the Secrets: for people to read before they apply anything. YAML. */
export function rbacAdvice(components: readonly Component[]): string {
  const names = components.map((component) => `    - ${credentialsSecret(component)}`).join('\n');
  return `# The control plane's keys are in Secrets of ${NAMESPACE} now: whoever may read Secrets there is cluster administrator. Nobody needs a role for the
# control plane or the checkpointer to work: the kubelets and the checkpointer read them as the nodes whose pods use them (Node authorizer).
# Find out who else can, and take that away where it is not meant:
#   kubectl auth can-i get secrets -n ${NAMESPACE} --as=<user>
#   kubectl get clusterroles,roles -A -o json | jq -r '.items[] | select(.rules[]? | (.resources // []) | index("secrets") or index("*")) | .metadata.name'
# For those who rotate them, and for nothing else:
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: rotate-control-plane-credentials
  namespace: ${NAMESPACE}
rules:
  - apiGroups: [""]
    resources: ["secrets"]
    resourceNames:
${names}
    verbs: ["get", "update", "patch"]
`;
}
