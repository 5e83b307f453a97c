/**
 * The container runtime as a source: what runs on this node, asked of the runtime itself. The kubelet's own answers are what it last reported,
 * and their authorization needs the API server; the runtime needs neither.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { status } from '@grpc/grpc-js';
import type { RuntimeSnapshot, RuntimeSource } from '../snapshots.ts';
import { type Connection, connect, type Method, parseEndpoint, RuntimeError } from './client.ts';
import { type Container, ContainerState, ImageServiceService, RuntimeServiceService } from './generated/runtime.ts';
import { type ContainerDetail, joinSandboxes } from './join.ts';

export interface RuntimeSourceOptions {
  /** `unix:///run/containerd/containerd.sock`, or the bare path. */
  readonly endpoint: string;
  /** Deadline of a list or a call, in milliseconds. */
  readonly requestTimeoutMs: number;
  /** Something may have changed: look again. Called on container events, when the runtime was connected and when it was lost. */
  readonly onEvent: () => void;
  readonly log: RuntimeLog;
}

/** The part of pino's logger that is used. */
export interface RuntimeLog {
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

/** Wait before the next attempt to connect, in milliseconds: doubled up to the limit, so that a runtime that comes back is found within a second. */
const RECONNECT = { first: 100, limit: 1_000 } as const;
/** Wait before events are asked for again on a connection that works but ended the stream, in milliseconds. */
const REOPEN = { first: 500, limit: 30_000 } as const;
/** A server that has no events says so at once; a stream that is open this long (milliseconds) brings some. Go's servers send no header before the first event. */
const STREAM_SETTLED_MS = 1_000;
/** ContainerStatus calls under way at once. */
const STATUS_CALLS = 16;

/** Starts to connect at once and keeps trying. Throws if the endpoint is not a unix socket. */
export function createRuntimeSource(options: RuntimeSourceOptions): RuntimeSource {
  return new CriSource(options);
}

class CriSource implements RuntimeSource {
  readonly #options: RuntimeSourceOptions;
  readonly #endpoint: { readonly path: string };
  readonly #stopped = new AbortController();
  readonly #following: Promise<void>;
  #connection: Connection | undefined;
  #connecting: Promise<Connection> | undefined;
  #listing: Promise<RuntimeSnapshot> | undefined;
  #details: ReadonlyMap<string, ContainerDetail> = new Map();
  #sendsEvents = false;

  constructor(options: RuntimeSourceOptions) {
    this.#options = options;
    this.#endpoint = parseEndpoint(options.endpoint);
    this.#following = this.#follow(this.#stopped.signal);
  }

  get sendsEvents(): boolean {
    return this.#sendsEvents;
  }

  list(): Promise<RuntimeSnapshot> {
    this.#listing ??= this.#list().finally(() => {
      this.#listing = undefined;
    });
    return this.#listing;
  }

  async stopContainer(id: string, timeoutSeconds: number): Promise<void> {
    const timeoutMs = timeoutSeconds * 1000 + this.#options.requestTimeoutMs;
    await this.#unlessGone(RuntimeServiceService.stopContainer, { containerId: id, timeout: BigInt(Math.ceil(timeoutSeconds)) }, timeoutMs);
  }

  async stopSandbox(id: string): Promise<void> {
    await this.#unlessGone(RuntimeServiceService.stopPodSandbox, { podSandboxId: id }, this.#options.requestTimeoutMs);
  }

  async hasImage(reference: string): Promise<boolean> {
    const connection = await this.#connected();
    const image = { image: reference, annotations: {}, userSpecifiedImage: '', runtimeHandler: '' };
    const answer = await connection
      .call(ImageServiceService.imageStatus, { image, verbose: false }, this.#options.requestTimeoutMs)
      .catch((error: unknown) => {
        throw this.#failed(connection, error);
      });
    return answer.image !== undefined;
  }

  async removeContainer(id: string): Promise<void> {
    await this.#unlessGone(RuntimeServiceService.removeContainer, { containerId: id }, this.#options.requestTimeoutMs);
  }

  async #unlessGone<Request, Answer>(method: Method<Request, Answer>, request: Request, timeoutMs: number): Promise<void> {
    const connection = await this.#connected();
    try {
      await connection.call(method, request, timeoutMs);
    } catch (error) {
      if (error instanceof RuntimeError && error.code === status.NOT_FOUND) return;
      throw this.#failed(connection, error);
    }
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await Promise.allSettled([this.#following, this.#connecting, this.#listing]);
  }

  async #list(): Promise<RuntimeSnapshot> {
    const deadline = performance.now() + this.#options.requestTimeoutMs;
    const remaining = (): number => Math.max(1, deadline - performance.now());
    let connection: Connection | undefined;
    try {
      connection = await this.#connected();
      const [sandboxes, containers] = await Promise.all([
        connection.call(RuntimeServiceService.listPodSandbox, {}, remaining()),
        connection.call(RuntimeServiceService.listContainers, {}, remaining()),
      ]);
      const details = await this.#readDetails(connection, containers.containers, remaining);
      this.#details = details;
      return { state: 'ok', sandboxes: joinSandboxes(sandboxes.items, containers.containers, details) };
    } catch (error) {
      const failure = connection === undefined ? error : this.#failed(connection, error);
      return { state: 'unknown', detail: failure instanceof Error ? failure.message : String(failure) };
    }
  }

  /** A container starts once and ends once: what is known of it holds as long as its state does, so only a change costs a call. */
  async #readDetails(
    connection: Connection,
    containers: readonly Container[],
    remaining: () => number,
  ): Promise<Map<string, ContainerDetail>> {
    const details = new Map<string, ContainerDetail>();
    const changed: Container[] = [];
    for (const container of containers) {
      const known = this.#details.get(container.id);
      if (container.state === ContainerState.CONTAINER_CREATED) details.set(container.id, NOT_STARTED);
      else if (known?.state === container.state) details.set(container.id, known);
      else changed.push(container);
    }
    const next = changed.values();
    const ask = async (): Promise<void> => {
      for (const { id } of next) {
        const detail = await this.#readDetail(connection, id, remaining());
        if (detail !== undefined) details.set(id, detail);
      }
    };
    await Promise.all(Array.from({ length: Math.min(STATUS_CALLS, changed.length) }, ask));
    return details;
  }

  async #readDetail(connection: Connection, id: string, timeoutMs: number): Promise<ContainerDetail | undefined> {
    try {
      const answer = await connection.call(RuntimeServiceService.containerStatus, { containerId: id, verbose: false }, timeoutMs);
      return answer.status;
    } catch (error) {
      if (error instanceof RuntimeError && error.code === status.NOT_FOUND) return undefined;
      throw error;
    }
  }

  /** A connection that failed in itself (not in its answer) is not used again. */
  #failed(connection: Connection, error: unknown): unknown {
    if (error instanceof RuntimeError && error.code === status.UNAVAILABLE) {
      if (this.#connection === connection) this.#connection = undefined;
      connection.close();
    }
    return error;
  }

  #connected(): Promise<Connection> {
    if (this.#stopped.signal.aborted) return Promise.reject(new Error(`stopped asking the container runtime at ${this.#endpoint.path}`));
    if (this.#connection !== undefined) return Promise.resolve(this.#connection);
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #connect(): Promise<Connection> {
    const connection = await connect(this.#endpoint, this.#options.requestTimeoutMs, this.#stopped.signal);
    this.#connection = connection;
    this.#options.log.info({ socket: this.#endpoint.path, runtime: connection.runtime }, 'connected to the container runtime');
    void connection.ended.then(() => {
      if (this.#connection === connection) this.#connection = undefined;
      connection.close();
      if (this.#stopped.signal.aborted) return;
      this.#options.log.warn({ socket: this.#endpoint.path }, 'lost the container runtime');
      this.#options.onEvent();
    });
    return connection;
  }

  async #follow(stopped: AbortSignal): Promise<void> {
    let wait: number = RECONNECT.first;
    while (!stopped.aborted) {
      try {
        const connection = await this.#connected();
        wait = RECONNECT.first;
        this.#options.onEvent();
        await this.#followConnection(connection, stopped);
      } catch {
        // Said by the list that fails for the same reason.
        await pause(wait, stopped);
        wait = Math.min(wait * 2, RECONNECT.limit);
      }
    }
  }

  async #followConnection(connection: Connection, stopped: AbortSignal): Promise<void> {
    let alive = true;
    const gone = connection.ended.then(() => {
      alive = false;
    });
    let wait: number = REOPEN.first;
    while (alive && !stopped.aborted) {
      const end = await this.#stream(connection);
      this.#sendsEvents = false;
      if (end.kind === 'unsupported') {
        this.#options.log.info({ runtime: connection.runtime }, 'the container runtime sends no events: it is asked at intervals');
        return gone;
      }
      if (end.settled) wait = REOPEN.first;
      const waited = new AbortController();
      await Promise.race([gone, pause(wait, AbortSignal.any([stopped, waited.signal]))]);
      waited.abort();
      wait = Math.min(wait * 2, REOPEN.limit);
    }
  }

  /** Events until the stream ends. Their content is not used: the truth is in the next list. */
  #stream(connection: Connection): Promise<StreamEnd> {
    return new Promise((resolve) => {
      const stream = connection.events();
      let settled = false;
      const settle = (): void => {
        clearTimeout(timer);
        if (settled) return;
        settled = true;
        this.#sendsEvents = true;
      };
      // What happened before the stream was open was not heard: look once more.
      const timer = setTimeout(() => {
        settle();
        this.#options.onEvent();
      }, STREAM_SETTLED_MS);
      const end = (kind: StreamEnd['kind']): void => {
        clearTimeout(timer);
        resolve({ kind, settled });
      };
      stream.on('data', () => {
        settle();
        this.#options.onEvent();
      });
      stream.on('error', (error: Error & { code?: status }) => end(error.code === status.UNIMPLEMENTED ? 'unsupported' : 'broken'));
      stream.on('end', () => end('broken'));
    });
  }
}

interface StreamEnd {
  readonly kind: 'unsupported' | 'broken';
  /** It was open long enough, or brought an event. */
  readonly settled: boolean;
}

const NOT_STARTED: ContainerDetail = { state: ContainerState.CONTAINER_CREATED, startedAt: 0n, finishedAt: 0n, exitCode: 0 };

/** Waits, or returns early when the signal is aborted. */
async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await sleep(milliseconds, undefined, { signal }).catch(() => undefined);
}
