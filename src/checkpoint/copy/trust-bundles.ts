/** What the kubelet makes of ClusterTrustBundles: every certificate once, nothing but the certificates. */
import type { V1beta1ClusterTrustBundle, V1LabelSelector } from '@kubernetes/client-node';
import { own } from './own.ts';

const CERTIFICATE = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/g;

/** PEM of all certificates of the bundles, each once. Sorted: the kubelet promises no order, and a copy has to be the same for the same input. */
export function trustAnchors(bundles: readonly V1beta1ClusterTrustBundle[]): string {
  const certificates = bundles.flatMap(({ spec }) =>
    [...(spec.trustBundle ?? '').matchAll(CERTIFICATE)].map(([, body = '']) => body.replace(/\s+/g, '')),
  );
  return [...new Set(certificates)]
    .sort()
    .map((body) => `-----BEGIN CERTIFICATE-----\n${body.replace(/.{1,64}/g, '$&\n')}-----END CERTIFICATE-----\n`)
    .join('');
}

/** Kubernetes' label selectors. None selects nothing, an empty one everything. */
export function selects(selector: V1LabelSelector | undefined, labels: Readonly<Record<string, string>> | undefined): boolean {
  if (selector === undefined) return false;
  const equal = Object.entries(selector.matchLabels ?? {}).every(([key, value]) => own(labels, key) === value);
  const expressions = (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
    const value = own(labels, key);
    switch (operator) {
      case 'In':
        return value !== undefined && values.includes(value);
      case 'NotIn':
        return value === undefined || !values.includes(value);
      case 'Exists':
        return value !== undefined;
      default:
        return operator === 'DoesNotExist' && value === undefined;
    }
  });
  return equal && expressions;
}
