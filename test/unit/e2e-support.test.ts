/** What the end-to-end tests are judged by, and what they say where they cannot run. */
import { describe, expect, it } from 'vitest';
import { findMachine } from '../e2e/support/machine.ts';
import { type Change, seenBetween } from '../e2e/support/outages.ts';

const changes = (...seconds: readonly number[]): Change[] =>
  seconds.map((at, i) => ({ at: at * 1000, up: i % 2 === 0, answers: i % 2 === 0 }));

describe('what users of the API server saw', () => {
  it('is the time to the first answer, the outages after it, and when the last of them ended', () => {
    expect(seenBetween(changes(5, 7, 9.5, 20, 20.25), 2000, 30_000)).toEqual({
      firstReady: 3,
      outages: [2.5, 0.25],
      outage: 2.75,
      unanswered: [2.5, 0.25],
      served: 18.25,
      stable: 18.25,
    });
  });

  it('has its first answer at once where there was one before', () => {
    expect(seenBetween(changes(1, 4, 6), 2000, 10_000)).toEqual({
      firstReady: 0,
      outages: [2],
      outage: 2,
      unanswered: [2],
      served: 4,
      stable: 4,
    });
  });

  it('is not stable where it ends with an outage', () => {
    expect(seenBetween(changes(1, 4), 2000, 10_000)).toEqual({ firstReady: 0, outages: [6], outage: 6, unanswered: [6] });
  });

  it('has no first answer where there was none', () => {
    expect(seenBetween(changes(1, 1.5), 2000, 10_000)).toEqual({ outages: [], outage: 0, unanswered: [] });
  });

  it('is an outage from the first request that is not answered, though it was ready just before', () => {
    const seen: Change[] = [
      { at: 3000, up: true, answers: true },
      { at: 4000, up: true, answers: false },
      { at: 4100, up: false, answers: false },
      { at: 5000, up: false, answers: true },
      { at: 6000, up: true, answers: true },
    ];
    expect(seenBetween(seen, 2000, 9000)).toMatchObject({ firstReady: 1, outages: [1.9], unanswered: [1], served: 4, stable: 4 });
  });

  it('knows a server that answers before it calls itself ready', () => {
    const seen: Change[] = [
      { at: 3000, up: true, answers: true },
      { at: 5000, up: false, answers: true },
      { at: 5500, up: false, answers: false },
      { at: 5600, up: true, answers: true },
      { at: 7000, up: false, answers: true },
      { at: 7200, up: true, answers: true },
    ];
    expect(seenBetween(seen, 2000, 9000)).toEqual({
      firstReady: 1,
      outages: [0.6, 0.2],
      outage: 0.8,
      unanswered: [0.1],
      served: 3.6,
      stable: 5.2,
    });
  });
});

describe('a machine without the programs of Kubernetes', () => {
  it.each([{}, { KUBE_BIN: '' }])('is told what KUBE_BIN has to name: %j', (env) => {
    expect(findMachine(env)).toEqual({
      state: 'missing',
      reason: expect.stringContaining('KUBE_BIN is not set: expected a folder with etcd'),
    });
  });

  it('is told what the folder lacks', () => {
    expect(findMachine({ KUBE_BIN: import.meta.dirname })).toEqual({
      state: 'missing',
      reason: expect.stringMatching(/ has no etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet$/),
    });
  });
});
