import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadAll } from 'js-yaml';
import { expect, test } from 'vitest';
import { authorize } from '../../src/embedded/apiserver/authorize.ts';
import type { ResourceRequest, Verb } from '../../src/embedded/apiserver/request.ts';
import { RESOURCES, type Resource } from '../../src/embedded/apiserver/resources.ts';
import { parseSelectors } from '../../src/embedded/apiserver/selectors.ts';

const BASE = join(import.meta.dirname, '../../manifests/base');
const VERBS: readonly Verb[] = ['get', 'list', 'watch', 'create', 'update', 'patch', 'delete', 'deletecollection'];

interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}
interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly rules?: readonly Rule[];
  readonly roleRef?: object;
  readonly subjects?: readonly object[];
}

const manifests = loadAll(readFileSync(join(BASE, 'rbac.yaml'), 'utf8')) as Manifest[];
const find = (kind: string) => manifests.find((manifest) => manifest.kind === kind);

test('the account of the checkpointer has one role, and its pod runs as it', () => {
  expect(manifests.map(({ kind }) => kind)).toEqual(['ServiceAccount', 'ClusterRole', 'ClusterRoleBinding']);
  expect(find('ClusterRoleBinding')).toMatchObject({
    roleRef: { kind: 'ClusterRole', name: find('ClusterRole')?.metadata.name },
    subjects: [{ kind: 'ServiceAccount', ...pick(find('ServiceAccount')) }],
  });
  const daemonSet = readFileSync(join(BASE, 'daemonset.yaml'), 'utf8');
  expect(daemonSet).toContain(`serviceAccountName: ${find('ServiceAccount')?.metadata.name}\n`);
  expect(readFileSync(join(BASE, 'kustomization.yaml'), 'utf8')).toContain('- rbac.yaml\n');
});

test('the role reads owners and pods, and nothing else: the embedded API server allows the same', () => {
  const rules = find('ClusterRole')?.rules ?? [];
  const granted = RESOURCES.flatMap((resource) =>
    VERBS.filter((verb) => grants(rules, resource, verb)).map((verb) => `${verb} ${resource.plural}`),
  );
  const allowed = RESOURCES.flatMap((resource) =>
    VERBS.filter((verb) => allows(resource, verb)).map((verb) => `${verb} ${resource.plural}`),
  );
  const read = (plural: string) => ['get', 'list', 'watch'].map((verb) => `${verb} ${plural}`);
  expect(granted).toEqual(['pods', 'daemonsets', 'deployments', 'replicasets', 'statefulsets'].flatMap(read));
  expect(allowed).toEqual(granted);
});

function pick(manifest: Manifest | undefined): object {
  return { name: manifest?.metadata.name, namespace: manifest?.metadata.namespace };
}

function grants(rules: readonly Rule[], resource: Resource, verb: string): boolean {
  return rules.some(
    (rule) => rule.apiGroups.includes(resource.group) && rule.resources.includes(resource.plural) && rule.verbs.includes(verb),
  );
}

function allows(resource: Resource, verb: Verb): boolean {
  const request: ResourceRequest = {
    kind: 'resource',
    verb,
    resource,
    namespace: resource.namespaced ? 'kube-system' : '',
    name: 'x',
    subresource: '',
    query: new URLSearchParams(),
    selector: parseSelectors(resource, '', ''),
  };
  const account = { name: 'system:serviceaccount:kube-system:pod-checkpointer', groups: ['system:serviceaccounts'] };
  return authorize(account, request, { pod: () => undefined, podsOnNode: () => [], claimsOf: () => [] }).allowed;
}
