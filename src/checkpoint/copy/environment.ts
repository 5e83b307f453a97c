/** Variables of the copy's containers: what came from the API becomes a literal value, what a static pod gets alike stays a reference. */
import type { V1Container, V1EnvFromSource, V1EnvVar } from '@kubernetes/client-node';
import { objectTitle } from '../references.ts';
import { addressValue, belongsToOnePod, fieldValue, sameForStaticPod } from './fields.ts';
import { own } from './own.ts';
import { bytesOf, change, type DataRef, find, type Rendering, refuse } from './rendering.ts';
import { serviceVariables } from './services.ts';

/**
 * The variables of a container. Those of `envFrom` come first, as literals: the kubelet lets `env` override them, and `$(NAME)` in `env` see them.
 */
export function renderEnvironment(r: Rendering, container: V1Container, field: string): V1EnvVar[] {
  const imported = new Map<string, string>();
  (container.envFrom ?? []).forEach((source, i) => {
    importAll(r, imported, source, `${field}.envFrom[${i}]`);
  });
  const variables: V1EnvVar[] = [...imported]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => ({ name, value: literal(value) }));
  (container.env ?? []).forEach((variable, i) => {
    const rendered = renderVariable(r, variable, `${field}.env[${i}]`);
    if (rendered !== undefined) variables.push(rendered);
  });
  return [...serviceVariables(r, container, variables, field), ...variables];
}

/** The kubelet expands `$(NAME)` and takes `$$` for `$` in a literal value, never in one that came by reference: every `$` is doubled. */
function literal(value: string): string {
  return value.replaceAll('$', () => '$$');
}

function importAll(r: Rendering, into: Map<string, string>, source: V1EnvFromSource, field: string): void {
  const selector = source.secretRef ?? source.configMapRef;
  if (selector === undefined) {
    refuse(r, 'UnsupportedVariable', field, 'Neither configMapRef nor secretRef is set. Set one of them.');
    return;
  }
  const kind = source.secretRef ? 'Secret' : 'ConfigMap';
  const where = `${field}.${source.secretRef ? 'secretRef' : 'configMapRef'}`;
  const ref: DataRef = { kind, namespace: r.namespace, name: selector.name ?? '' };
  if (refusedSecret(r, ref, selector.optional, where)) return;
  const found = find(r, ref, selector.optional);
  if (found.kind === 'none') change(r, where, `left out: there is no ${objectTitle(ref)}, and none is needed`);
  if (found.kind !== 'found') return;
  if (kind === 'Secret' && r.policy.secretEnv === 'refuse') {
    refuseSecret(r, where);
    return;
  }
  // Variables come from `data` alone: the kubelet does not look into a ConfigMap's binaryData.
  for (const [key, value] of Object.entries(found.object.data ?? {})) {
    const name = `${source.prefix ?? ''}${key}`;
    if (!isVariableName(name)) continue;
    const text = textOf(r, ref, value, where);
    if (text !== undefined) into.set(name, text);
  }
  change(r, where, `the values of ${objectTitle(ref)} are written down`);
}

/** What the kubelet (since Kubernetes 1.34) takes for the name of a variable: printable ASCII without `=`. */
function isVariableName(name: string): boolean {
  return /^[ -<>-~]+$/.test(name);
}

function renderVariable(r: Rendering, variable: V1EnvVar, field: string): V1EnvVar | undefined {
  const from = variable.valueFrom;
  // The kubelet looks at a source only where there is no value.
  if (from === undefined || (variable.value !== undefined && variable.value !== '')) return variable;
  if (from.fieldRef) {
    const { fieldPath } = from.fieldRef;
    if (sameForStaticPod(fieldPath, r.parent.spec?.hostNetwork === true)) return variable;
    const address = addressValue(r.parent, fieldPath);
    const value = address ?? fieldValue(r.parent, fieldPath);
    // The kubelet reports addresses once it knows the pod.
    if (address === '') {
      r.waiting.add(`${fieldPath} of the pod`);
      return undefined;
    }
    if (value !== undefined) {
      const written = { name: variable.name, value: literal(value) };
      if (belongsToOnePod(fieldPath)) r.ofOnePod.variables.add(written);
      change(r, `${field}.valueFrom.fieldRef`, `a static pod has another ${fieldPath}: the parent's is written down`);
      return written;
    }
    refuse(r, 'UnsupportedField', `${field}.valueFrom.fieldRef`, `"${fieldPath}" is not a field that a copy can carry. Take it out.`);
    return undefined;
  }
  if (from.configMapKeyRef || from.secretKeyRef) return renderKey(r, variable, field);
  // resourceFieldRef: the copy has the same resources. fileKeyRef: a file in one of the pod's own volumes.
  if (from.resourceFieldRef || from.fileKeyRef) return variable;
  const kind = Object.keys(from)[0];
  const where = kind === undefined ? `${field}.valueFrom` : `${field}.valueFrom.${kind}`;
  refuse(r, 'UnsupportedVariable', where, 'Where this value comes from is not known to the checkpointer. Set a value, or take it out.');
  return undefined;
}

function renderKey(r: Rendering, variable: V1EnvVar, field: string): V1EnvVar | undefined {
  const { configMapKeyRef, secretKeyRef } = variable.valueFrom ?? {};
  const selector = configMapKeyRef ?? secretKeyRef;
  if (selector === undefined) return undefined;
  const kind = configMapKeyRef ? 'ConfigMap' : 'Secret';
  const where = `${field}.valueFrom.${configMapKeyRef ? 'configMapKeyRef' : 'secretKeyRef'}`;
  const ref: DataRef = { kind, namespace: r.namespace, name: selector.name ?? '' };
  if (refusedSecret(r, ref, selector.optional, where)) return undefined;
  const found = find(r, ref, selector.optional);
  if (found.kind === 'none') change(r, where, `left out: there is no ${objectTitle(ref)}, and none is needed`);
  if (found.kind !== 'found') return undefined;
  const value = own(found.object.data, selector.key);
  if (value === undefined) {
    if (selector.optional === true) change(r, where, `left out: ${objectTitle(ref)} has no key "${selector.key}", and none is needed`);
    else
      refuse(
        r,
        'MissingKey',
        `${where}.key`,
        `${objectTitle(ref)} has no key "${selector.key}". Add the key, or mark the variable optional.`,
      );
    return undefined;
  }
  if (kind === 'Secret' && r.policy.secretEnv === 'refuse') {
    refuseSecret(r, where);
    return undefined;
  }
  const text = textOf(r, ref, value, where);
  change(r, where, `the value in ${objectTitle(ref)} is written down`);
  return text === undefined ? undefined : { name: variable.name, value: literal(text) };
}

/** A needed Secret is refused without a look at it; an optional one only if there is a value that would have to be written down. */
function refusedSecret(r: Rendering, ref: DataRef, optional: boolean | undefined, field: string): boolean {
  if (ref.kind !== 'Secret' || r.policy.secretEnv !== 'refuse' || optional === true) return false;
  refuseSecret(r, field);
  return true;
}

function refuseSecret(r: Rendering, field: string): void {
  const advice = 'Mount the Secret as a volume, or allow it with --secret-env=inline.';
  refuse(r, 'SecretEnvRefused', field, `The copy would carry a Secret's value in clear in its manifest. ${advice}`);
}

/** The value as text. Nothing of it goes into the message: it may be a Secret's. */
function textOf(r: Rendering, ref: DataRef, value: string, field: string): string | undefined {
  try {
    const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytesOf(ref.kind, value));
    if (!text.includes('\0')) return text;
  } catch {
    // Not UTF-8: refused below, like a NUL byte, which no variable can hold.
  }
  refuse(r, 'VariableNotText', field, `A value of ${objectTitle(ref)} is not text. Mount it as a volume.`);
  return undefined;
}
