/** One of three masters, as its own daemon sees the cluster. */
import { describe, expect, it } from 'vitest';
import { activationsOf, type Event, type Happening } from './run.ts';

const event = (happening: Happening, pause: number): Event => ({ happening, pause });
const others = (on: boolean, pause: number) => event({ kind: 'fault', fault: 'others', on }, pause);

describe('one of three masters', () => {
  it('activates nothing when it alone loses power: the kubelet brings its pods, another API server says which', () => {
    const { violation, activated, awayFor } = activationsOf([others(true, 10_000), event({ kind: 'cutPower' }, 600_000)]);
    expect({ violation, activated, awayFor }).toEqual({ violation: undefined, activated: [], awayFor: 0 });
  });

  it('activates nothing when its own API server is rolled out or crashes while others answer', () => {
    const { violation, activated } = activationsOf([
      others(true, 10_000),
      event({ kind: 'rollOut', name: 'api', good: true }, 60_000),
      event({ kind: 'crash', name: 'api' }, 60_000),
      event({ kind: 'rollOut', name: 'scheduler', good: true }, 60_000),
    ]);
    expect({ violation, activated }).toEqual({ violation: undefined, activated: [] });
  });

  it('brings its control plane back when all of them lose power, and hands it back once, whether or not the others come back', () => {
    for (const back of [true, false]) {
      const { violation, activated, awayFor } = activationsOf([
        others(true, 10_000),
        others(false, 0),
        event({ kind: 'cutPower' }, 5_000),
        others(back, 900_000),
      ]);
      expect({ violation, activated }).toEqual({ violation: undefined, activated: ['api', 'controllers', 'scheduler'] });
      // The start of the copy, and where no other serves meanwhile the hand-back.
      expect(awayFor).toBeLessThanOrEqual(10_000);
    }
  });

  it('keeps nothing of an API server that is no longer wanted here while others serve', () => {
    const { violation, activated } = activationsOf([
      others(true, 10_000),
      event({ kind: 'owner', name: 'api', exists: true, selects: false }, 600_000),
    ]);
    expect({ violation, activated }).toEqual({ violation: undefined, activated: [] });
  });

  it('does not become a master again, once its API server has moved to others, whenever those are away', () => {
    const { violation, activated } = activationsOf([
      others(true, 10_000),
      event({ kind: 'owner', name: 'api', exists: true, selects: false }, 600_000),
      others(false, 10_000),
      others(true, 600_000),
      others(false, 10_000),
      others(true, 600_000),
    ]);
    expect({ violation, activated: activated.filter((name) => name === 'api') }).toEqual({ violation: undefined, activated: [] });
  });
});
