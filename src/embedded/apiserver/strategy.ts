/** What the API server does to an object before it is stored: defaults on create, what an update may change, what has to be there. */
import type { V1PodSpec } from '@kubernetes/client-node';
import { asPod, isMap, type JsonMap, type KubeObject, sameValue } from './objects.ts';
import { defaultPodSpec, priorityOf, qosClassOf } from './pod-defaults.ts';
import type { Resource } from './resources.ts';
import { forbidden, invalid } from './status.ts';

type Cause = { field: string; message: string };

/** Throws a 403 or 422 for an object that the API server would refuse. */
export function defaulted(resource: Resource, object: KubeObject): KubeObject {
  const causes = requiredFields(resource, object);
  if (causes.length > 0) throw invalid(resource, object.metadata.name, causes);
  switch (resource.kind) {
    case 'Pod':
      return defaultedPod(resource, object);
    case 'Secret':
      return defaultedSecret(object);
    case 'Namespace':
      return { ...object, spec: { finalizers: ['kubernetes'] }, status: { phase: 'Active' } };
    case 'DaemonSet':
      return withDefaults(withTemplate(object), { revisionHistoryLimit: 10 }, 'updateStrategy', defaultUpdateStrategy);
    case 'Deployment':
      return withDefaults(
        withTemplate(object),
        { replicas: 1, progressDeadlineSeconds: 600, revisionHistoryLimit: 10 },
        'strategy',
        defaultStrategy,
      );
    case 'ReplicaSet':
    case 'StatefulSet':
      return withDefaults(withTemplate(object), { replicas: 1 });
    default:
      return object;
  }
}

/** The object to store when a client sends `incoming` for `current`. Throws a 422 where a field may not change. */
export function updated(resource: Resource, current: KubeObject, incoming: KubeObject, subresource: string): KubeObject {
  if (subresource === 'status') return { ...current, ...(incoming.status === undefined ? {} : { status: incoming.status }) };
  const hasStatus = resource.subresources.includes('status');
  const next = defaulted(resource, hasStatus ? withStatus(incoming, current.status) : incoming);
  if (resource.kind === 'Pod') checkPodUpdate(resource, current, next);
  if (readField(current, 'immutable') === true && !sameValue(readField(current, 'data'), readField(next, 'data')))
    throw invalid(resource, current.metadata.name, [{ field: 'data', message: 'Forbidden: field is immutable when `immutable` is set' }]);
  if (resource.group === 'apps' && !sameValue(readField(current.spec, 'selector'), readField(next.spec, 'selector')))
    throw invalid(resource, current.metadata.name, [{ field: 'spec.selector', message: 'Invalid value: field is immutable' }]);
  return next;
}

function withStatus(object: KubeObject, status: unknown): KubeObject {
  const { status: _, ...rest } = object;
  return status === undefined ? rest : { ...rest, status };
}

function readField(value: unknown, field: string): unknown {
  return isMap(value) ? value[field] : undefined;
}

function requiredFields(resource: Resource, object: KubeObject): Cause[] {
  if (resource.kind === 'Pod') return podCauses(object.spec, 'spec');
  if (resource.group !== 'apps' || resource.kind === 'ControllerRevision') return [];
  const template = readField(object.spec, 'template');
  const labels = readField(readField(template, 'metadata'), 'labels');
  const selected = readField(readField(object.spec, 'selector'), 'matchLabels');
  if (!isMap(selected)) return [{ field: 'spec.selector', message: 'Required value' }];
  const fits = isMap(labels) && Object.entries(selected).every(([key, value]) => labels[key] === value);
  const mismatch = fits
    ? []
    : [{ field: 'spec.template.metadata.labels', message: 'Invalid value: `selector` does not match template `labels`' }];
  return [...mismatch, ...podCauses(readField(template, 'spec'), 'spec.template.spec')];
}

function podCauses(spec: unknown, field: string): Cause[] {
  const containers = readField(spec, 'containers');
  if (!Array.isArray(containers) || containers.length === 0) return [{ field: `${field}.containers`, message: 'Required value' }];
  return containers.flatMap((container: unknown, i) =>
    ['name', 'image']
      .filter((required) => typeof readField(container, required) !== 'string')
      .map((required) => ({ field: `${field}.containers[${i}].${required}`, message: 'Required value' })),
  );
}

function defaultedPod(resource: Resource, object: KubeObject): KubeObject {
  const spec = defaultPodSpec(asPod(object).spec);
  const priority = priorityOf(spec.priorityClassName ?? '');
  if (priority === undefined)
    throw forbidden(resource, object.metadata.name, `no PriorityClass with name ${spec.priorityClassName ?? ''} was found`);
  const status = isMap(object.status) ? object.status : {};
  return {
    ...object,
    spec: { priority, preemptionPolicy: 'PreemptLowerPriority', ...spec } satisfies V1PodSpec,
    status: { phase: 'Pending', qosClass: qosClassOf(spec), ...status },
  };
}

/** Fields of a pod's spec that an update may change: images, tolerations, deadlines; a node may be named once, through the binding. */
function checkPodUpdate(resource: Resource, current: KubeObject, next: KubeObject): void {
  if (sameValue(fixedPart(asPod(current).spec), fixedPart(asPod(next).spec))) return;
  const message =
    'Forbidden: pod updates may not change fields other than `spec.containers[*].image`, `spec.initContainers[*].image`, `spec.activeDeadlineSeconds`, `spec.tolerations`';
  throw invalid(resource, current.metadata.name, [{ field: 'spec', message }]);
}

function fixedPart(spec: V1PodSpec): object {
  const { activeDeadlineSeconds: _, tolerations: __, terminationGracePeriodSeconds: ___, ...fixed } = spec;
  const imageless = (spec.initContainers ?? []).concat(spec.containers).map(({ image: _image, ...container }) => container);
  return { ...fixed, initContainers: undefined, containers: imageless };
}

function defaultedSecret(object: KubeObject): KubeObject {
  const { stringData, ...secret } = object as KubeObject & { stringData?: JsonMap; data?: JsonMap };
  const encoded = Object.entries(stringData ?? {}).map(([key, value]) => [key, Buffer.from(String(value)).toString('base64')]);
  const data = { ...secret.data, ...Object.fromEntries(encoded) };
  return { ...{ type: 'Opaque' }, ...secret, ...(Object.keys(data).length === 0 ? {} : { data }) } as KubeObject;
}

function withTemplate(object: KubeObject): KubeObject {
  const spec = object.spec as { template: { metadata?: unknown; spec: V1PodSpec } };
  const template = { ...spec.template, metadata: spec.template.metadata ?? {}, spec: defaultPodSpec(spec.template.spec) };
  return { ...object, spec: { ...spec, template } };
}

function withDefaults(object: KubeObject, defaults: JsonMap, field?: string, strategy?: (value: unknown) => unknown): KubeObject {
  const spec = { ...defaults, ...(object.spec as JsonMap) };
  return { ...object, spec: field === undefined || strategy === undefined ? spec : { ...spec, [field]: strategy(spec[field]) } };
}

function defaultUpdateStrategy(value: unknown): unknown {
  const strategy = { type: 'RollingUpdate', ...(isMap(value) ? value : {}) };
  if (strategy.type !== 'RollingUpdate') return strategy;
  const rolling = readField(value, 'rollingUpdate');
  return { ...strategy, rollingUpdate: { maxUnavailable: 1, maxSurge: 0, ...(isMap(rolling) ? rolling : {}) } };
}

function defaultStrategy(value: unknown): unknown {
  const strategy = { type: 'RollingUpdate', ...(isMap(value) ? value : {}) };
  if (strategy.type !== 'RollingUpdate') return strategy;
  const rolling = readField(value, 'rollingUpdate');
  return { ...strategy, rollingUpdate: { maxUnavailable: '25%', maxSurge: '25%', ...(isMap(rolling) ? rolling : {}) } };
}
