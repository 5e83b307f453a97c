/**
 * What a copy is made without although its parent has it, and what of it cannot be told from the API: it may not come up as its parent did. The codes stand in
 * an annotation of the copy's pod, so that they are known wherever the copy is; the sentences are those of the program that reads it.
 */
import type { V1Container, V1Pod } from '@kubernetes/client-node';
import type { Warning } from '../copy-types.ts';
import type { Rendering } from './rendering.ts';
import { flagOf, runs } from './traits.ts';

/** On a copy: a JSON list of `<code> <field>`. */
export const WARNINGS = 'pod-checkpointer.io/warnings';

const SENTENCES = {
  ImagePullSecrets:
    'A static pod may name no pull secret. Since Kubernetes 1.35 the kubelet asks the registry again before it lets a pod without the secret use an image that was pulled with it: ' +
    "give the node credentials of its own, preload the image, or set the kubelet's imagePullCredentialsVerificationPolicy.",
  RuntimeClass:
    "A static pod may name no RuntimeClass: the copy, without the overhead, runs under the runtime's default handler, without a sandbox or devices that the class gives. " +
    'Make its handler the default of the runtime on this node, or do not mark the pod.',
  SELinuxLabel:
    'The kubelet labels the files of Secrets and ConfigMaps for this container, those of a hostPath never. Where the node enforces SELinux, ' +
    'give the store the label container_file_t:s0 (docs/copy.md, SELinux).',
  LocalVolumePath:
    'The API does not say whether the path of this local volume is a directory. If it is a device the copy never starts: set fsType in the PersistentVolume, ' +
    'or use a volume whose path is a mounted directory.',
  Hostname:
    "A static pod has a name of its own, and the parent's is not a DNS label that could be its hostname: the copy's containers see another one. " +
    'Set spec.hostname, or give the pod a name without dots.',
  ExtendedResource:
    'A device is given out by a plugin. Where that does not run yet the kubelet starts the copy without the device, and while the copy has the last one the kubelet ' +
    'admits no other pod that asks for it, so the parent cannot come back. Have one more than is asked for, or do not mark the pod.',
  BoundToken:
    'Its only way to the API server is a token that ends with the pod. When its owner replaces the pod, and nobody else is there to do its work, ' +
    'the copy that bridges the gap is not let in (401), and the new pod never comes. Give it a kubeconfig with a client certificate (--kubeconfig), in a Secret or on the host.',
} as const;

export type WarningCode = keyof typeof SENTENCES;

/** Each code and field once. */
export function warn(r: Rendering, code: WarningCode, field: string): void {
  const known = r.warnings.some((other) => other.code === code && other.field === field);
  if (!known) r.warnings.push({ code, field, message: SENTENCES[code] });
}

/** The annotation; none where there is nothing to warn of. */
export function warningsAnnotation(warnings: readonly Warning[]): Readonly<Record<string, string>> {
  if (warnings.length === 0) return {};
  return { [WARNINGS]: JSON.stringify(warnings.map(({ code, field }) => `${code} ${field}`).sort()) };
}

/** The warnings of a copy, from its pod as it is stored or active. What cannot be read is none; a code of another version has a sentence that says so. */
export function warningsOf(copy: V1Pod): Warning[] {
  let entries: unknown;
  try {
    entries = JSON.parse(copy.metadata?.annotations?.[WARNINGS] ?? '[]');
  } catch {
    return [];
  }
  if (!Array.isArray(entries)) return [];
  return entries.flatMap((entry: unknown): Warning[] => {
    const [, code, field] = /^([A-Za-z]+) (.+)$/s.exec(typeof entry === 'string' ? entry : '') ?? [];
    if (code === undefined || field === undefined) return [];
    return [{ code, field, message: isCode(code) ? SENTENCES[code] : 'This version does not know what the one that made the copy meant.' }];
  });
}

function isCode(code: string): code is WarningCode {
  return Object.hasOwn(SENTENCES, code);
}

/** What concerns the pod as a whole and its containers' labels; `filled` are the volumes that became directories of the generation. */
export function warnOfLosses(r: Rendering, filled: ReadonlySet<string>): void {
  const spec = r.parent.spec;
  if ((spec?.imagePullSecrets ?? []).length > 0) warn(r, 'ImagePullSecrets', 'spec.imagePullSecrets');
  if (spec?.runtimeClassName) warn(r, 'RuntimeClass', 'spec.runtimeClassName');
  for (const list of ['initContainers', 'containers'] as const)
    spec?.[list]?.forEach((container, i) => {
      warnOfToken(r, container);
      if (Object.keys(container.resources?.limits ?? {}).some(isExtended))
        warn(r, 'ExtendedResource', `spec.${list}[${i}].resources.limits`);
      if (container.volumeMounts?.some((mount) => filled.has(mount.name))) warnOfLabel(r, container, `spec.${list}[${i}]`);
    });
}

/** A resource that no kubelet has by itself (Kubernetes' IsExtendedResourceName). */
function isExtended(resource: string): boolean {
  return resource.includes('/') && !resource.includes('kubernetes.io/');
}

/**
 * The API server takes a token for as long as the pod is there that it is bound to. That is enough for every pod but the two that its own replacement waits
 * for: nobody binds the scheduler's new pod, and nobody makes the controller manager's.
 */
function warnOfToken(r: Rendering, container: V1Container): void {
  const needed = runs(container, 'scheduler') || runs(container, 'controller-manager');
  if (!needed || flagOf(container, 'kubeconfig') !== undefined) return;
  r.parent.spec?.volumes?.forEach(({ name, projected }, i) => {
    const token = projected?.sources?.findIndex((source) => source.serviceAccountToken) ?? -1;
    if (token >= 0 && container.volumeMounts?.some((mount) => mount.name === name))
      warn(r, 'BoundToken', `spec.volumes[${i}].projected.sources[${token}].serviceAccountToken`);
  });
}

/** The kubelet asks the runtime to label what it made itself. A privileged container, or one of type spc_t, is not confined. */
function warnOfLabel(r: Rendering, { securityContext }: V1Container, field: string): void {
  const own = securityContext?.seLinuxOptions;
  const options = own ?? r.parent.spec?.securityContext?.seLinuxOptions;
  if (options === undefined || securityContext?.privileged === true || options.type === 'spc_t') return;
  warn(r, 'SELinuxLabel', `${own === undefined ? 'spec' : field}.securityContext.seLinuxOptions`);
}
