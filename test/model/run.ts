/** Runs a sequence of events against the rules, and says which invariant broke. */
import { type Decision, decide } from '../../src/checkpoint/decide.ts';
import { EMPTY_MEMORY, type Memory } from '../../src/checkpoint/memory.ts';
import { type Millis, NO_QUESTIONS, type Policy } from '../../src/checkpoint/model.ts';
import { POLICY } from '../support/observations.ts';
import { act } from './acts.ts';
import { type Faults, KEYS, NAMES, type Name } from './objects.ts';
import { observationOf } from './seen.ts';
import { World } from './world.ts';

export type Happening =
  | { readonly kind: 'rollOut' | 'rotate'; readonly name: Name; readonly good: boolean }
  | { readonly kind: 'deletePod' | 'crash'; readonly name: Name }
  | { readonly kind: 'owner'; readonly name: Name; readonly exists: boolean; readonly selects: boolean }
  | { readonly kind: 'fault'; readonly fault: keyof Faults; readonly on: boolean }
  | { readonly kind: 'cutPower' | 'restartKubelet' | 'restartDaemon' }
  | { readonly kind: 'stepClock'; readonly by: Millis };

/** Something happens, and then nothing for so long. */
export interface Event {
  readonly happening: Happening;
  readonly pause: Millis;
}

export type Decide = typeof decide;

export interface Options {
  readonly handBack?: 'exclusive' | 'overlap';
  /** Other rules than those of the code: to show that an invariant can fail. */
  readonly decide?: Decide;
  /** Called after each step. */
  readonly trace?: (line: string) => void;
}

/**
 * With a good copy on a node that works the API server is back by then. The longest waits are those of a copy whose containers crashed for another reason
 * than their own: three activations in 10 min are as many as there may be, and the generations take turns. Beside that there are the starts.
 */
export const API_BACK: Millis = 720_000;
/** A parent that is good has its place by then: after three activations in 10 min, for whatever reason, its next trial waits. */
export const HAND_BACK: Millis = 720_000;
/** What is left of a copy without a manifest is stopped by then. */
export const LEFTOVER: Millis = 30_000;
/** A world in which nothing happens. */
export const STEADY: Millis = 600_000;
const ACTIVATIONS = 3;

export const POLICY_OF_MODEL: Policy = { ...POLICY, retain: 24 * 3_600_000 };

const TICK = { flux: 1_000, quiet: 5_000 };

/** The first violation, or undefined. The last event is followed by a time in which nothing happens. */
export function violationOf(events: readonly Event[], options: Options = {}): string | undefined {
  const runner = new Runner(options);
  const steps: readonly Event[] = [{ happening: { kind: 'restartDaemon' }, pause: 60_000 }, ...events];
  for (const [index, { happening, pause }] of steps.entries()) {
    runner.happen(happening);
    const last = index === steps.length - 1;
    const violation = runner.pass(last ? Math.max(pause, API_BACK + 60_000) : pause);
    if (violation !== undefined) return `after event ${index} (${JSON.stringify(happening)}): ${violation}`;
  }
  return undefined;
}

/** The same sequence: what was activated, and when the API server was away on this node's word. */
export function activationsOf(
  events: readonly Event[],
  options: Options = {},
): { readonly violation: string | undefined; readonly activated: readonly string[]; readonly awayFor: Millis } {
  const runner = new Runner(options);
  let violation: string | undefined;
  for (const { happening, pause } of [{ happening: { kind: 'restartDaemon' } as const, pause: 60_000 }, ...events]) {
    runner.happen(happening);
    violation ??= runner.pass(pause);
  }
  return { violation, ...runner.outcome() };
}

class Runner {
  readonly #world: World;
  readonly #decide: Decide;
  readonly #trace: ((line: string) => void) | undefined;
  #memory: Memory = EMPTY_MEMORY;
  #questions = NO_QUESTIONS;
  #said = '';
  #away: Millis = 0;
  #quietSince: Millis;
  readonly #since = new Map<string, Millis>();
  /** Workloads that had a proven generation and were wanted ever since. */
  readonly #proven = new Set<Name>();

  constructor({ handBack, decide: rules = decide, trace }: Options) {
    this.#world = new World(handBack);
    this.#decide = rules;
    this.#trace = trace;
    this.#quietSince = this.#world.now;
  }

  happen(happening: Happening): void {
    const world = this.#world;
    this.#quietSince = world.now;
    this.#trace?.(`${world.now} ${JSON.stringify(happening)}`);
    switch (happening.kind) {
      case 'rollOut':
        world.rollOut(happening.name, happening.good);
        break;
      case 'rotate':
        world.rotate(happening.name, happening.good);
        break;
      case 'deletePod':
        world.deletePod(happening.name);
        break;
      case 'crash':
        world.crash(happening.name);
        break;
      case 'owner': {
        const owner = world.owners[happening.name];
        owner.exists = happening.exists;
        owner.selects = happening.selects;
        break;
      }
      case 'fault':
        world.faults[happening.fault] = happening.on;
        break;
      case 'cutPower':
        this.#restartDaemon();
        world.cutPower();
        break;
      case 'restartKubelet':
        world.restartKubelet();
        break;
      case 'restartDaemon':
        this.#restartDaemon();
        break;
      case 'stepClock':
        world.wall += happening.by;
    }
  }

  #restartDaemon(): void {
    this.#memory = EMPTY_MEMORY;
    this.#questions = NO_QUESTIONS;
  }

  pass(ms: Millis): string | undefined {
    const world = this.#world;
    const end = world.now + ms;
    let flux = true;
    while (world.now < end) {
      const tick = Math.min(flux ? TICK.flux : TICK.quiet, end - world.now);
      world.step(tick);
      if (!world.apiUp()) this.#away += tick;
      const seen = observationOf(world, this.#questions);
      const decision = this.#decide(this.#memory, seen, POLICY_OF_MODEL);
      this.#memory = decision.memory;
      this.#questions = decision.questions;
      flux = decision.flux || decision.actions.length > 0 || world.now - this.#quietSince < 30_000;
      for (const action of decision.actions) act(world, action);
      this.#tell(decision);
      const violation = this.#violation(decision);
      if (violation !== undefined) return `at ${world.now}: ${violation}`;
    }
    return undefined;
  }

  outcome(): { readonly activated: readonly string[]; readonly awayFor: Millis } {
    return { activated: this.#world.activated.map(({ name }) => name), awayFor: this.#away };
  }

  #tell(decision: Decision): void {
    if (this.#trace === undefined) return;
    const said = NAMES.map((name) => `${name} ${decision.reports.get(KEYS[name])?.reason}`).join(', ');
    const done = decision.actions.map(
      (action) =>
        `${action.kind}${'workload' in action ? ` ${action.workload.name}` : ''}${'generation' in action ? ` ${action.generation}` : ''}`,
    );
    const line = `api ${this.#world.apiUp() ? 'up' : 'down'}: ${said}: ${done.join(', ')}`;
    if (line !== this.#said) this.#trace(`${this.#world.now} ${line}`);
    this.#said = line;
  }

  /** How long something has held without a break. */
  #held(what: string, holds: boolean): Millis {
    if (!holds) {
      this.#since.delete(what);
      return 0;
    }
    const since = this.#since.get(what) ?? this.#world.now;
    this.#since.set(what, since);
    return this.#world.now - since;
  }

  #violation(decision: Decision): string | undefined {
    const world = this.#world;
    const { faults } = world;
    if (decision.wakeAt !== undefined && decision.wakeAt <= world.now && decision.actions.length === 0)
      return `it looks again at once and for ever: ${JSON.stringify([...decision.reports.values()])}`;
    const works = !faults.etcdDown && !faults.runtimeUnknown && !faults.kubeletStopped && !faults.diskFull && !faults.refusing;
    for (const name of NAMES) {
      const lost = this.#lost(name);
      if (lost !== undefined) return lost;
      const stored = world.stores.get(name);
      const parent = world.pods.find((pod) => pod.name === name && pod.bound && pod.terminatingSince === undefined);
      const content = parent && world.copyOfPod(parent).digest;
      const sound = content !== undefined && world.contents.get(content)?.good === true && stored?.failing.has(content) !== true;
      const copied = world.manifests.some((manifest) => manifest.name === name);
      const may = works && world.apiUp() && !faults.denied && sound && copied;
      if (this.#held(`copy of ${name}`, may) > HAND_BACK) return `the copy of ${name} stays, and its parent could run`;
      const left = world.runtime.some(
        (pod) =>
          pod.name === name &&
          pod.source === 'file' &&
          pod.containers.at(-1)?.state === 'running' &&
          !world.manifests.some(({ file }) => `copy-${file}` === pod.uid),
      );
      if (this.#held(`leftover of ${name}`, left && !faults.runtimeUnknown && !faults.kubeletStopped && !faults.denied) > LEFTOVER)
        return `a copy of ${name} without a manifest runs on`;
      const recent = world.activated.filter((one) => one.name === name && one.at > Math.max(this.#quietSince, world.now - STEADY));
      if (recent.length > ACTIVATIONS) return `${recent.length} activations of ${name} in ${STEADY / 60_000} min in which nothing happens`;
    }
    const api = world.stores.get('api');
    const sound = [api?.proven, api?.previous].some(
      (number) => number !== undefined && world.contents.get(api?.generations.get(number)?.digest ?? '')?.good === true,
    );
    // After three manifests that the kubelet refused the next one comes 10 min later (rule 5).
    const refused = world.manifests.some((manifest) => manifest.name === 'api' && manifest.refused);
    if (this.#held('no API server', works && sound && !refused && !world.apiUp()) > API_BACK)
      return `no API server for ${API_BACK / 60_000} min, with a good copy on a node that works`;
    return undefined;
  }

  /** A workload that had a proven generation and is wanted has one. */
  #lost(name: Name): string | undefined {
    const world = this.#world;
    const { exists, selects } = world.owners[name];
    const stored = world.stores.get(name);
    const has = stored?.proven !== undefined && stored.generations.has(stored.proven);
    // Without the owner's word there is only time: what it retires is still there for --retain.
    const retired = world.faults.ownersDenied && world.retired.some((one) => one.name === name);
    if (!exists || !selects || (!has && retired)) this.#proven.delete(name);
    else if (has) this.#proven.add(name);
    else if (this.#proven.has(name)) return `the proven generation of ${name} is gone`;
    return undefined;
  }
}
