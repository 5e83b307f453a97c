/**
 * What a mount's `subPathExpr` stands for. The kubelet expands it when it starts the container, and makes a directory of what is not there: in the files of
 * a generation, which would then not be the one that was written. So it has to be there before.
 */
import type { V1Container, V1EnvVar } from '@kubernetes/client-node';
import { renderEnvironment } from './environment.ts';
import { fieldValue } from './fields.ts';
import type { Rendering } from './rendering.ts';

export type SubPath =
  | { readonly kind: 'path'; readonly path: string; readonly ofOnePod: boolean }
  /** Its value is known only where the copy runs, or is a Secret's: then it is no name of a directory. */
  | { readonly kind: 'unknown'; readonly variable: string }
  /** A variable that the container does not have: the kubelet does not start it, and makes nothing. */
  | { readonly kind: 'none' };

/** The expression as the kubelet expands it for the container's copy. */
export function subPathOf(r: Rendering, container: V1Container, expression: string): SubPath {
  const { text, ofOnePod, unknown, missing } = expand(expression, variablesOf(r, container));
  if (unknown !== undefined) return { kind: 'unknown', variable: unknown };
  return missing ? { kind: 'none' } : { kind: 'path', path: text, ofOnePod };
}

interface Value {
  readonly text: string;
  readonly ofOnePod: boolean;
}

type Variables = (name: string) => Value | 'unknown' | 'missing';

function variablesOf(r: Rendering, container: V1Container): Variables {
  const found = new Map<string, Value | 'unknown'>();
  const { env = [], envFrom = [] } = container;
  const others = envFrom.some(({ secretRef }) => secretRef) || env.some(({ valueFrom }) => valueFrom?.secretKeyRef) ? 'unknown' : 'missing';
  const variables: Variables = (name) => found.get(name) ?? others;
  const ofOnePod = { files: new Set<string>(), directories: new Set<string>(), variables: new Set<object>(), spec: new Set<'hostname'>() };
  // What is to be said of the variables is said where they are rendered for the copy. Those of a Secret are left out.
  const aside: Rendering = {
    ...r,
    policy: { ...r.policy, secretEnv: 'refuse' },
    refusals: [],
    warnings: [],
    waiting: new Set(),
    denied: new Set(),
    changes: [],
    ofOnePod: { ...ofOnePod, tokens: [] },
  };
  for (const variable of renderEnvironment(aside, container, ''))
    found.set(variable.name, known(r, variable, variables, ofOnePod.variables.has(variable)));
  return variables;
}

function known(r: Rendering, { value, valueFrom }: V1EnvVar, variables: Variables, ofOnePod: boolean): Value | 'unknown' {
  if (value !== undefined && value !== '') {
    const expanded = expand(value, variables);
    return expanded.unknown === undefined ? { text: expanded.text, ofOnePod: ofOnePod || expanded.ofOnePod } : 'unknown';
  }
  if (valueFrom === undefined) return { text: '', ofOnePod };
  const { fieldPath = '' } = valueFrom.fieldRef ?? {};
  const text = fieldPath === 'spec.nodeName' ? r.parent.spec?.nodeName : fieldValue(r.parent, fieldPath);
  // References that were kept give every pod of the spec the same.
  return text === undefined ? 'unknown' : { text, ofOnePod: false };
}

interface Expanded extends Value {
  /** The first variable whose value is not known. */
  readonly unknown: string | undefined;
  /** Whether one of them is not there at all: it stays as it stands. */
  readonly missing: boolean;
}

/** `$(NAME)` is the value of a variable, `$$` a `$` (kubelet: third_party/forked/golang/expansion). */
function expand(expression: string, variables: Variables): Expanded {
  let ofOnePod = false;
  let unknown: string | undefined;
  let missing = false;
  const text = expression.replaceAll(/\$\$|\$\(([^)]*)\)/g, (whole: string, name: string | undefined) => {
    if (name === undefined) return '$';
    const value = variables(name);
    if (value === 'unknown') unknown ??= name;
    else if (value === 'missing') missing = true;
    else {
      ofOnePod ||= value.ofOnePod;
      return value.text;
    }
    return whole;
  });
  return { text, ofOnePod, unknown, missing };
}
