/**
 * A node and its cluster in memory, as far as the rules can tell the difference. Pure but for its own state; time is given in milliseconds. What is
 * modelled follows design section 9 and the kubelet's code; each simplification is named where it is made.
 */
import type { Copy } from '../../src/checkpoint/copy-types.ts';
import type { Millis, Retired, Traits } from '../../src/checkpoint/model.ts';
import { copyOf } from '../support/observations.ts';
import {
  type ApiPod,
  type Container,
  type Content,
  type Faults,
  type Manifest,
  NAMES,
  type Name,
  type Owner,
  type RuntimePodState,
  type StoredState,
  WORKLOADS,
} from './objects.ts';

/** From the start of a container to its first answer. */
const START: Millis = 1_000;
/** The kubelet's crash backoff: the first restart at once, then doubled; forgotten after 10 min without a crash. */
const BACKOFF = { base: 10_000, max: 300_000, forget: 600_000 };
const GRACE: Millis = 1_000;

export class World {
  now: Millis = 1_000_000;
  /** What the wall clock is off by. */
  wall: Millis = 0;
  boot = 1;
  settledBoot: string | undefined;
  readonly faults: Faults = {
    etcdDown: false,
    denied: false,
    runtimeUnknown: false,
    diskFull: false,
    refusing: false,
    kubeletStopped: false,
    ownersDenied: false,
    others: false,
  };
  readonly owners: Record<Name, Owner>;
  pods: ApiPod[] = [];
  runtime: RuntimePodState[] = [];
  manifests: Manifest[] = [];
  stores = new Map<Name, StoredState>();
  retired: {
    readonly name: Name;
    readonly entry: string;
    readonly at: Millis;
    readonly stored: StoredState;
    readonly replaced: boolean;
  }[] = [];
  absences = new Map<string, 'gone' | 'present'>();
  /** The kubelet has talked to the API server since it started, and what it then knew. */
  synced = false;
  knownPods = new Map<string, ApiPod>();
  readonly contents = new Map<string, Content>();
  readonly traits: Readonly<Record<Name, Traits>>;
  readonly activated: { readonly at: Millis; readonly name: Name }[] = [];
  #serial = 0;

  next(): number {
    return ++this.#serial;
  }

  constructor(handBack: Traits['handBack'] = 'exclusive') {
    this.traits = {
      api: { servesApi: true, handBack },
      controllers: { servesApi: false, handBack: 'exclusive' },
      scheduler: { servesApi: false, handBack: 'exclusive' },
    };
    const owner = (name: Name): Owner => ({ exists: true, selects: true, content: this.#content(`${name}-0`, true) });
    this.owners = { api: owner('api'), controllers: owner('controllers'), scheduler: owner('scheduler') };
    // As after an installation: every pod runs.
    for (const name of NAMES) {
      const pod = this.#makePod(name);
      pod.bound = true;
      pod.ready = true;
      this.pods.push(pod);
      this.runtime.push(this.#makeRuntimePod(pod.uid, name, 'api', 0, 0));
    }
    for (const pod of this.runtime) pod.containers.push(this.#container('running', this.now - START));
    this.synced = true;
    for (const pod of this.pods) this.knownPods.set(pod.uid, pod);
  }

  get bootId(): string {
    return `boot-${this.boot}`;
  }

  /** A running container that works and has had its time to start. */
  serves(name: Name): boolean {
    return this.runtime.some((pod) => pod.name === name && this.isServing(pod));
  }

  isServing(pod: RuntimePodState): boolean {
    const newest = pod.containers.at(-1);
    return newest?.state === 'running' && newest.good && this.now - newest.startedAt >= START;
  }

  apiUp(): boolean {
    return !this.faults.etcdDown && (this.faults.others || this.serves('api'));
  }

  /** What a container of the pod runs with: a parent with its spec and the Secret as it is now, a copy with what was copied. */
  contentOf(pod: RuntimePodState): Content {
    const broken: Content = { spec: '', good: false };
    if (pod.source === 'api') {
      const spec = this.specs.get(pod.uid);
      return spec === undefined ? broken : (this.contents.get(`${spec}/${this.secrets[pod.name]}`) ?? broken);
    }
    const of = this.stores.get(pod.name)?.generations.get(pod.generation)?.digest;
    return of === undefined
      ? (this.contents.get(this.copied.get(`${pod.name} ${pod.generation}`) ?? '') ?? broken)
      : (this.contents.get(of) ?? broken);
  }

  readonly secrets: Record<Name, number> = { api: 0, controllers: 0, scheduler: 0 };
  readonly specs = new Map<string, string>();
  /** Digest of what was copied, also of generations that are deleted. */
  readonly copied = new Map<string, string>();

  copyOfPod(pod: ApiPod): Copy {
    return copyOf(`${pod.spec}/${this.secrets[pod.name]}`, this.traits[pod.name]);
  }

  // What happens to the world.

  rollOut(name: Name, good: boolean): void {
    this.owners[name].content = this.#content(`${name}-${++this.#serial}`, good);
  }

  /** A Secret changes under running pods, which read it at their next start. */
  rotate(name: Name, good: boolean): void {
    const number = ++this.#serial;
    this.secrets[name] = number;
    for (const [, spec] of [...this.specs, ['', this.owners[name].content.spec] as const])
      if (spec.startsWith(`${name}-`)) this.#defineWithSecret(name, spec, good);
  }

  deletePod(name: Name): void {
    for (const pod of this.pods) if (pod.name === name) pod.terminatingSince ??= this.now;
  }

  crash(name: Name): void {
    for (const pod of this.runtime) if (pod.name === name) this.end(pod, true);
  }

  /** Power cut: what runs ends, and nobody remembers. */
  cutPower(): void {
    this.boot++;
    for (const pod of this.runtime) {
      this.end(pod, true);
      pod.sandboxReady = false;
      pod.backoff = undefined;
      pod.ending = undefined;
    }
    this.restartKubelet();
  }

  restartKubelet(): void {
    this.synced = false;
    this.knownPods.clear();
    for (const pod of this.runtime) pod.backoff = undefined;
  }

  /** A moment passes. */
  step(ms: Millis): void {
    this.now += ms;
    this.#runContainers();
    if (this.apiUp()) {
      const { others } = this.faults;
      if (others || this.serves('controllers')) this.#control();
      if (others || this.serves('scheduler')) for (const pod of this.pods) pod.bound = true;
    }
    if (!this.faults.kubeletStopped && !this.faults.runtimeUnknown) this.#kubelet();
  }

  #control(): void {
    for (const name of NAMES) {
      const owner = this.owners[name];
      const own = this.pods.filter((pod) => pod.name === name);
      if (!owner.exists || !owner.selects) {
        for (const pod of own) pod.terminatingSince ??= this.now;
        continue;
      }
      if (own.length === 0) this.pods.push(this.#makePod(name));
      // maxUnavailable 1, one node: an old pod goes at once, whether it is available or not.
      for (const pod of own) if (pod.spec !== owner.content.spec) pod.terminatingSince ??= this.now;
    }
    // A pod that was never on a node goes at once.
    this.pods = this.pods.filter((pod) => pod.bound || pod.terminatingSince === undefined);
  }

  #kubelet(): void {
    if (this.apiUp() && !this.faults.denied) {
      this.synced = true;
      this.knownPods = new Map(this.pods.filter(({ bound }) => bound).map((pod) => [pod.uid, pod]));
    }
    const wanted = new Set<string>();
    for (const pod of this.knownPods.values()) {
      if (pod.terminatingSince !== undefined) continue;
      wanted.add(pod.uid);
      const found = this.runtime.find(({ uid }) => uid === pod.uid) ?? this.#addRuntimePod(pod.uid, pod.name, 'api', 0, 0);
      // Its first container needs Secrets that only the API server has; later ones do not.
      if (found.containers.length > 0 || found.attempts > 0 || this.apiUp()) this.#syncPod(found);
      else found.sandboxReady = true;
    }
    for (const manifest of this.manifests) {
      if (manifest.refused) continue;
      const uid = `copy-${manifest.file}`;
      wanted.add(uid);
      const found =
        this.runtime.find((pod) => pod.uid === uid) ??
        this.#addRuntimePod(uid, manifest.name, 'file', manifest.generation, manifest.activation);
      this.#syncPod(found);
    }
    // Before its first sync it ends nothing: it only forgets.
    if (this.synced) for (const pod of this.runtime) if (!wanted.has(pod.uid)) this.#endPod(pod);
    this.runtime = this.runtime.filter(
      (pod) => !(this.synced && !wanted.has(pod.uid) && pod.ending !== undefined && this.now - pod.ending >= GRACE),
    );
    if (this.apiUp() && !this.faults.denied) this.#report();
  }

  #endPod(pod: RuntimePodState): void {
    pod.ending ??= this.now;
    if (this.now - pod.ending < GRACE) return;
    this.end(pod, false);
    pod.sandboxReady = false;
  }

  /** Status to the API server; pods that have ended leave it. */
  #report(): void {
    for (const pod of this.pods) {
      const running = this.runtime.find(({ uid }) => uid === pod.uid);
      pod.ready = running !== undefined && this.isServing(running);
    }
    this.pods = this.pods.filter(
      (pod) =>
        pod.terminatingSince === undefined ||
        this.runtime.some(({ uid, containers }) => uid === pod.uid && containers.at(-1)?.state === 'running'),
    );
  }

  #syncPod(pod: RuntimePodState): void {
    pod.ending = undefined;
    pod.sandboxReady = true;
    const newest = pod.containers.at(-1);
    if (newest !== undefined && newest.state !== 'exited') return;
    if (newest !== undefined && this.now < newest.endedAt + this.#delay(pod, newest.endedAt)) return;
    if (newest !== undefined) {
      const before = pod.backoff !== undefined && newest.endedAt - pod.backoff.updatedAt <= BACKOFF.forget ? pod.backoff.delay : undefined;
      pod.backoff = { delay: before === undefined ? BACKOFF.base : Math.min(before * 2, BACKOFF.max), updatedAt: this.now };
    }
    if (pod.containers.length > 0 || pod.attempts > 0) pod.attempts++;
    pod.containers.push(this.#container('created', this.now));
  }

  #delay({ backoff }: RuntimePodState, endedAt: Millis): Millis {
    return backoff === undefined || endedAt - backoff.updatedAt > BACKOFF.forget ? 0 : backoff.delay;
  }

  /** A created container starts; one that is no good, or finds its port taken, ends. */
  #runContainers(): void {
    for (const pod of this.runtime) {
      const newest = pod.containers.at(-1);
      if (newest?.state === 'running' && !newest.good) this.end(pod, true);
      if (newest?.state !== 'created') continue;
      const overlap = this.traits[pod.name].handBack === 'overlap';
      const taken =
        !overlap && this.runtime.some((other) => other !== pod && other.name === pod.name && other.containers.at(-1)?.state === 'running');
      newest.state = 'running';
      newest.startedAt = this.now;
      newest.good = this.contentOf(pod).good;
      // What is no good is seen to run for a moment.
      if (taken) this.end(pod, true);
    }
  }

  end(pod: RuntimePodState, crashed: boolean): void {
    const newest = pod.containers.at(-1);
    if (newest === undefined || newest.state === 'exited') return;
    newest.state = 'exited';
    newest.crashed = crashed;
    newest.endedAt = this.now;
  }

  #content(spec: string, good: boolean): Content {
    const content = { spec, good };
    const name = NAMES.find((one) => spec.startsWith(`${one}-`)) ?? 'api';
    this.goodSpecs.set(spec, good);
    this.contents.set(`${spec}/${this.secrets[name]}`, content);
    return content;
  }

  readonly goodSpecs = new Map<string, boolean>();
  readonly goodSecrets: Record<Name, boolean> = { api: true, controllers: true, scheduler: true };

  #defineWithSecret(name: Name, spec: string, good: boolean): void {
    this.goodSecrets[name] = good;
    this.contents.set(`${spec}/${this.secrets[name]}`, { spec, good: good && this.goodSpecs.get(spec) === true });
  }

  #makePod(name: Name): ApiPod {
    const uid = `pod-${++this.#serial}`;
    const { spec } = this.owners[name].content;
    this.#defineWithSecret(name, spec, this.goodSecrets[name]);
    this.specs.set(uid, spec);
    return { uid, name, spec, bound: false, terminatingSince: undefined, ready: false };
  }

  #makeRuntimePod(uid: string, name: Name, source: 'api' | 'file', generation: number, activation: number): RuntimePodState {
    return {
      uid,
      name,
      source,
      generation,
      activation,
      sandboxReady: true,
      containers: [],
      attempts: 0,
      backoff: undefined,
      ending: undefined,
    };
  }

  #addRuntimePod(uid: string, name: Name, source: 'api' | 'file', generation: number, activation: number): RuntimePodState {
    const pod = this.#makeRuntimePod(uid, name, source, generation, activation);
    this.runtime.push(pod);
    return pod;
  }

  #container(state: Container['state'], startedAt: Millis): Container {
    return { id: `c-${++this.#serial}`, state, crashed: false, good: true, startedAt, endedAt: 0 };
  }

  retirements(): Retired[] {
    return this.retired.map(({ name, entry, at, stored, replaced }) => ({
      replaced,
      workload: WORKLOADS[name],
      entry,
      age: this.now + this.wall - at,
      servesApi: [...stored.generations.values()].some(({ traits }) => traits.servesApi),
    }));
  }
}
