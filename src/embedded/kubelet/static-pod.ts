/** A manifest of the static pod directory as a pod (pkg/kubelet/config/common.go). */
import { createHash } from 'node:crypto';
import type { V1PodSpec } from '@kubernetes/client-node';
import { load } from 'js-yaml';
import { canonical, isMap, type Meta } from '../apiserver/objects.ts';
import { defaultPodSpec } from '../apiserver/pod-defaults.ts';
import { apiReferenceOf } from './api-references.ts';
import { CONFIG_HASH, CONFIG_SOURCE, type Pod } from './pod.ts';

const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/**
 * Any file is parsed whole, whatever its ending: JSON is YAML. The UID is a hash over the defaulted pod, the node's name and the file's path, so a
 * rename or an edited annotation makes another pod. The name gets the node's name appended.
 * @throws with the reason when it is not a pod that a kubelet would run.
 */
export function parseManifest(text: string, file: string, nodeName: string): Pod {
  const manifest = load(text);
  if (!isMap(manifest) || manifest['apiVersion'] !== 'v1' || manifest['kind'] !== 'Pod')
    throw new Error(`${file}: couldn't parse as pod, please check config file`);
  const metadata = (isMap(manifest['metadata']) ? manifest['metadata'] : {}) as Partial<Meta>;
  if (typeof metadata.name !== 'string' || metadata.name === '') throw new Error('invalid pod: name is needed for the pod');
  const spec = defaultPodSpec(specOf(manifest['spec']));
  const uid =
    metadata.uid ??
    createHash('sha256').update(canonical({ metadata, spec })).update(`host:${nodeName}`).update(`file:${file}`).digest('hex').slice(0, 32);
  const reference = apiReferenceOf(spec);
  if (reference !== undefined) throw new Error(`static pods may not reference ${reference}`);
  const name = `${metadata.name}-${nodeName.toLowerCase()}`;
  if (!SUBDOMAIN.test(name) || name.length > 253) throw new Error(`invalid pod: metadata.name: Invalid value: "${name}"`);
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      ...metadata,
      name,
      namespace: metadata.namespace ?? 'default',
      uid,
      annotations: { ...metadata.annotations, [CONFIG_HASH]: uid, [CONFIG_SOURCE]: 'file' },
    },
    spec: {
      ...spec,
      nodeName,
      tolerations: [
        ...(spec.tolerations ?? []).filter((toleration) => toleration.effect !== 'NoExecute' || toleration.operator !== 'Exists'),
        { operator: 'Exists', effect: 'NoExecute' },
      ],
    },
    status: { phase: 'Pending' },
  };
}

/** What validation asks of a spec before anything else makes sense. */
function specOf(spec: unknown): V1PodSpec {
  if (!isMap(spec) || !Array.isArray(spec['containers']) || spec['containers'].length === 0)
    throw new Error('invalid pod: spec.containers: Required value');
  const names = new Set<string>();
  for (const container of spec['containers']) {
    if (!isMap(container) || typeof container['name'] !== 'string' || typeof container['image'] !== 'string' || container['image'] === '')
      throw new Error('invalid pod: spec.containers: every container needs a name and an image');
    if (names.has(container['name'])) throw new Error(`invalid pod: spec.containers: Duplicate value: "${container['name']}"`);
    names.add(container['name']);
  }
  // Its shape is checked as far as it is used; what else a manifest says is carried along.
  return spec as unknown as V1PodSpec;
}
