/** Field and label selectors, as lists and watches name them in their query. */
import { fieldAt, type KubeObject } from './objects.ts';
import type { Resource } from './resources.ts';
import { badRequest } from './status.ts';

interface FieldRequirement {
  readonly field: string;
  readonly equal: boolean;
  readonly value: string;
}

export interface Selector {
  readonly fields: readonly FieldRequirement[];
  matches(object: KubeObject): boolean;
}

/** Fields that Kubernetes can select by, beside metadata.name and metadata.namespace. */
const SELECTABLE: Readonly<Record<string, readonly string[]>> = {
  Pod: [
    'spec.nodeName',
    'spec.restartPolicy',
    'spec.schedulerName',
    'spec.serviceAccountName',
    'spec.hostNetwork',
    'status.phase',
    'status.podIP',
  ],
  Node: ['spec.unschedulable'],
  Secret: ['type'],
  Namespace: ['status.phase'],
  Event: ['involvedObject.kind', 'involvedObject.name', 'involvedObject.namespace', 'involvedObject.uid', 'reason', 'type'],
};

/** Throws a 400 for a selector that does not parse or names a field that cannot be selected by. */
export function parseSelectors(resource: Resource, fieldSelector: string, labelSelector: string): Selector {
  const fields = fieldSelector === '' ? [] : fieldSelector.split(',').map((term) => parseField(resource, term));
  const labels = labelSelector === '' ? [] : splitTerms(labelSelector).map(parseLabel);
  return {
    fields,
    matches: (object) =>
      fields.every((field) => fieldMatches(field, object)) && labels.every((label) => label(object.metadata.labels ?? {})),
  };
}

/** The value that the selector asks a field to have, undefined if it leaves it open. */
export function requiredField(selector: Selector, field: string): string | undefined {
  return selector.fields.find((requirement) => requirement.field === field && requirement.equal)?.value;
}

function parseField(resource: Resource, term: string): FieldRequirement {
  const match = /^([^=!]+)(!=|==?)(.*)$/.exec(term);
  if (match === null) throw badRequest(`invalid selector: '${term}'; can't understand '${term}'`);
  const [, field = '', operator, value = ''] = match;
  if (field !== 'metadata.name' && field !== 'metadata.namespace' && SELECTABLE[resource.kind]?.includes(field) !== true)
    throw badRequest(`field label not supported: ${field}`);
  return { field, equal: operator !== '!=', value };
}

function fieldMatches(requirement: FieldRequirement, object: KubeObject): boolean {
  const value = fieldAt(object, requirement.field.split('.'));
  return (String(value ?? '') === requirement.value) === requirement.equal;
}

/** At the commas that are not within parentheses. */
function splitTerms(selector: string): string[] {
  return selector.split(/,(?![^(]*\))/);
}

type LabelTest = (labels: Readonly<Record<string, string>>) => boolean;

function parseLabel(term: string): LabelTest {
  const text = term.trim();
  const set = /^(\S+)\s+(in|notin)\s+\(([^)]*)\)$/.exec(text);
  if (set !== null) {
    const [, key = '', operator, list = ''] = set;
    const values = list.split(',').map((value) => value.trim());
    return (labels) => values.includes(labels[key] ?? '\0') === (operator === 'in');
  }
  const equality = /^([^=!\s]+)\s*(!=|==?)\s*(\S*)$/.exec(text);
  if (equality !== null) {
    const [, key = '', operator, value = ''] = equality;
    return (labels) => (labels[key] === value) === (operator !== '!=');
  }
  const existence = /^(!?)\s*([^=!\s(),]+)$/.exec(text);
  if (existence === null) throw badRequest(`unable to parse requirement: ${JSON.stringify(text)}`);
  const [, not, key = ''] = existence;
  return (labels) => key in labels === (not === '');
}
