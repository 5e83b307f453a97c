/** What the executors do, in the model: at once, or not at all. */
import type { Action } from '../../src/checkpoint/model.ts';
import { workloadKey } from '../../src/checkpoint/workload.ts';
import { KEYS, NAMES, type StoredState } from './objects.ts';
import type { World } from './world.ts';

/** Does what an executor would do. False: it failed. */
export function act(world: World, action: Action): boolean {
  if (action.kind === 'settleBoot') {
    if (world.faults.diskFull) return false;
    world.settledBoot = action.bootId;
    return true;
  }
  // Of the checkpointer itself, which the model does not run.
  if (action.kind === 'stepDown' || action.kind === 'leave') return true;
  // Of bootkube's pod-checkpointer, of which nothing is on the model's node.
  if (action.kind === 'adopt' || action.kind === 'clearPredecessor' || action.kind === 'tidyPredecessor') return false;
  const name = NAMES.find((one) => KEYS[one] === workloadKey(action.workload));
  if (name === undefined) throw new Error(`${action.kind} for a workload that there is not: ${action.workload.name}`);
  const writes = ['save', 'repoint', 'prove', 'renew', 'markFailing', 'demote', 'quarantine', 'activate', 'retire', 'revive'].includes(
    action.kind,
  );
  if (writes && world.faults.diskFull) return false;
  const stored = world.stores.get(name);
  switch (action.kind) {
    case 'save': {
      const into = stored ?? newStore();
      const number = ++into.highest;
      const { digest: of, traits } = action.copy;
      into.generations.set(number, { number, digest: of, containers: ['c'], traits, parent: action.parent });
      into.newest = number;
      world.stores.set(name, into);
      world.copied.set(`${name} ${number}`, of);
      return true;
    }
    case 'repoint':
      if (stored) stored.newest = action.generation;
      return true;
    case 'prove':
      if (stored && stored.proven !== action.generation) {
        stored.previous = stored.proven ?? stored.previous;
        stored.proven = action.generation;
      }
      return true;
    case 'renew':
    case 'demote':
      if (stored) {
        stored.proven = action.generation;
        if (stored.previous === action.generation) stored.previous = undefined;
      }
      return true;
    case 'markFailing':
      stored?.failing.set(action.digest, { since: '', detail: action.detail });
      return true;
    case 'quarantine':
      return true;
    case 'prune':
      for (const number of action.generations) stored?.generations.delete(number);
      return true;
    case 'activate': {
      if (stored === undefined || !stored.generations.has(action.generation)) return false;
      stored.activations = Math.max(stored.activations, action.activation);
      const file = `${name}-g${action.generation}-a${action.activation}-${world.retired.length}`;
      world.manifests.push({ file, name, generation: action.generation, activation: action.activation, refused: world.faults.refusing });
      world.activated.push({ at: world.now, name });
      return true;
    }
    case 'deactivate':
      world.manifests = world.manifests.filter(({ file }) => file !== action.file);
      return true;
    case 'makeRoom':
      world.manifests = world.manifests.filter(({ file }) => !action.files.includes(file));
      if (world.faults.runtimeUnknown) return false;
      stop(world, action.containerIds);
      return true;
    case 'stopLeftover':
      if (world.faults.runtimeUnknown) return false;
      stop(world, action.containerIds);
      for (const pod of world.runtime) if (action.sandboxIds.includes(`s-${pod.uid}`)) pod.sandboxReady = false;
      return true;
    case 'forgetExits':
      if (world.faults.runtimeUnknown) return false;
      for (const pod of world.runtime) {
        const kept = pod.containers.filter(({ id, state }) => state !== 'exited' || !action.containerIds.includes(id));
        // The next attempt is numbered by what the logs say.
        if (kept.length === 0 && pod.containers.length > 0) pod.attempts = Math.max(1, pod.attempts);
        pod.containers = kept;
      }
      return true;
    case 'confirmAbsence':
      if (world.apiUp() && !world.faults.denied)
        world.absences.set(action.pod.uid, world.pods.some(({ uid }) => uid === action.pod.uid) ? 'present' : 'gone');
      return true;
    case 'retire':
      if (stored) world.retired.push({ name, entry: `r-${world.next()}`, at: world.now + world.wall, stored, replaced: action.replaced });
      world.stores.delete(name);
      return true;
    case 'revive': {
      const found = world.retired.find(({ entry }) => entry === action.entry);
      if (found === undefined || stored !== undefined) return false;
      world.stores.set(name, found.stored);
      world.retired = world.retired.filter((one) => one !== found);
      return true;
    }
    case 'discard':
      world.retired = world.retired.filter(({ entry }) => entry !== action.entry);
      return true;
  }
}

function stop(world: World, ids: readonly string[]): void {
  for (const pod of world.runtime)
    for (const one of pod.containers) if (ids.includes(one.id) && one.state === 'running') world.end(pod, true);
}

function newStore(): StoredState {
  return {
    generations: new Map(),
    newest: undefined,
    proven: undefined,
    previous: undefined,
    failing: new Map(),
    activations: 0,
    highest: 0,
  };
}
