/** Objects that the API server itself makes when they are missing. */
import type { Registry } from './registry.ts';
import { parseRequest, type ResourceRequest } from './request.ts';
import { ApiError } from './status.ts';

const NAMESPACES = ['default', 'kube-node-lease', 'kube-public', 'kube-system'];

export function createNamespaces(registry: Registry): void {
  const request = parseRequest('POST', '/api/v1/namespaces') as ResourceRequest;
  for (const name of NAMESPACES) {
    if (registry.find(request.resource, '', name) !== undefined) continue;
    try {
      registry.create(request, { metadata: { name, labels: { 'kubernetes.io/metadata.name': name } } });
    } catch (error) {
      // Another server on the same data was quicker.
      if (!(error instanceof ApiError) || error.code !== 409) throw error;
    }
  }
}
