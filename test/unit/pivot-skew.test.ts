/** Whether the versions of a self-hosted control plane go together. */
import { describe, expect, it } from 'vitest';
import type { Component } from '../../src/pivot/component.ts';
import { skewChecks } from '../../src/pivot/skew.ts';

const images = (apiserver: string, manager: string, scheduler: string): ReadonlyMap<Component, string> =>
  new Map([
    ['kube-apiserver', `registry.k8s.io/kube-apiserver:v${apiserver}`],
    ['kube-controller-manager', `registry.k8s.io/kube-controller-manager:v${manager}`],
    ['kube-scheduler', `registry.k8s.io/kube-scheduler:v${scheduler}`],
  ]);
const SAME = images('1.36.2', '1.36.2', '1.36.2');

describe('the versions of a control plane', () => {
  it.each<[string, ReadonlyMap<Component, string>, ReadonlyMap<Component, string>, string | undefined, string, string]>([
    ['go together when they are the same', SAME, SAME, 'v1.36.2', 'ok', 'the control plane is 1.36'],
    [
      'go together one minor behind the API server',
      images('1.36.2', '1.35.9', '1.35.9'),
      images('1.36.2', '1.35.9', '1.35.9'),
      'v1.33.0',
      'ok',
      'the control plane is 1.36',
    ],
    [
      'say what is being rolled out',
      images('1.36.3', '1.36.2', '1.36.2'),
      SAME,
      'v1.36.2',
      'ok',
      'the control plane is 1.36; rolling out: kube-apiserver, wait for it before the next',
    ],
    [
      'do not when the scheduler is to be newer than the API server that runs',
      images('1.36.2', '1.35.2', '1.36.2'),
      images('1.35.2', '1.35.2', '1.35.2'),
      'v1.35.2',
      'fail',
      'kube-scheduler is 1.36, the API server 1.35',
    ],
    [
      'do not when the controller manager is two behind',
      images('1.36.2', '1.34.2', '1.36.2'),
      images('1.36.2', '1.34.2', '1.36.2'),
      'v1.36.2',
      'fail',
      'kube-controller-manager is 1.34, the API server 1.36',
    ],
    ['do not when the kubelet is newer', SAME, SAME, 'v1.37.0', 'fail', 'the kubelet is 1.37, the API server 1.36'],
    ['do not when the kubelet is four behind', SAME, SAME, 'v1.32.1', 'fail', 'the kubelet is 1.32, the API server 1.36'],
    [
      'do not when the API server leaves a minor out',
      images('1.36.2', '1.34.2', '1.34.2'),
      images('1.34.2', '1.34.2', '1.34.2'),
      'v1.34.2',
      'fail',
      'kube-apiserver is to go from 1.34 to 1.36',
    ],
    [
      'are not known of private builds',
      images('1.36.2', '1.36.2', '1.36.2'),
      new Map([['kube-apiserver', 'registry.local/kube-apiserver:latest']]),
      'v1.36.2',
      'unknown',
      "the API server's image does not say its version",
    ],
  ])('%s', (_what, wanted, running, kubelet, state, seen) => {
    expect(skewChecks({ wanted, running, kubelet })[0]).toMatchObject({ state, seen });
  });

  it("are nobody else's business where nothing is self-hosted", () => {
    expect(skewChecks({ wanted: new Map(), running: new Map(), kubelet: 'v1.36.2' })).toEqual([]);
  });
});
