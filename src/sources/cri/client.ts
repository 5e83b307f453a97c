/**
 * One connection to a container runtime over its unix socket, CRI v1.
 * A connection is used until its socket breaks and never again: whoever wants to go on makes a new one. So a runtime that was restarted is asked for
 * its version anew, and grpc's own reconnect backoff, which grows to minutes, is never waited for.
 */
import { ChannelCredentials, type ClientReadableStream, connectivityState, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import type { Endpoint } from './endpoint.ts';
import { type ContainerEventResponse, RuntimeServiceClient, RuntimeServiceService } from './generated/runtime.ts';

export { type Endpoint, parseEndpoint } from './endpoint.ts';

/** As the kubelet sets it: a node with hundreds of pods answers ListContainers with several MiB. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/** A call that the runtime did not answer, or answered with an error. The message names the call, the socket and what to look at. */
export class RuntimeError extends Error {
  override readonly name = 'RuntimeError';
  readonly code: status;

  constructor(code: status, message: string) {
    super(message);
    this.code = code;
  }
}

/** A unary method of the generated service definitions. */
export interface Method<Request, Answer> {
  readonly path: string;
  requestSerialize(request: Request): Buffer;
  responseDeserialize(bytes: Buffer): Answer;
}

export interface Connection {
  /** As the runtime names itself: `containerd 1.6.20`. */
  readonly runtime: string;
  /** Fulfilled once the socket broke or the connection was closed. */
  readonly ended: Promise<void>;
  /** One call with a deadline in milliseconds, of the runtime or the image service. Throws a RuntimeError. */
  call<Request, Answer>(method: Method<Request, Answer>, request: Request, timeoutMs: number): Promise<Answer>;
  /** Every container event from now on, until the connection ends. */
  events(): ClientReadableStream<ContainerEventResponse>;
  /** Ends the connection and every call under way on it. */
  close(): void;
}

/**
 * Connects and asks for the version. Throws a RuntimeError if that takes longer than the timeout (milliseconds), the runtime does not speak CRI v1,
 * or the signal is aborted.
 */
export async function connect(endpoint: Endpoint, timeoutMs: number, signal?: AbortSignal): Promise<Connection> {
  const client = new RuntimeServiceClient(`unix:${endpoint.path}`, ChannelCredentials.createInsecure(), {
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    // Otherwise two connections of one process share a socket, and with it the backoff.
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_http_proxy': 0,
    'grpc.service_config_disable_resolution': 1,
  });
  // Closing a client lets calls under way go on: they have to be ended one by one.
  const underWay = new Set<{ cancel(): void }>();
  const close = (): void => {
    for (const call of underWay) call.cancel();
    client.close();
  };
  const call: Connection['call'] = (method, request, callTimeoutMs) =>
    unary({ client, endpoint, underWay }, method, request, callTimeoutMs);
  signal?.addEventListener('abort', close, { once: true });
  try {
    const version = await call(RuntimeServiceService.version, { version: '0.1.0' }, timeoutMs);
    const runtime = `${version.runtimeName} ${version.runtimeVersion}`;
    if (version.runtimeApiVersion !== 'v1') {
      const spoken = JSON.stringify(version.runtimeApiVersion);
      throw new RuntimeError(
        status.FAILED_PRECONDITION,
        `the container runtime at ${endpoint.path} (${runtime}) speaks CRI ${spoken}: expected v1; update it`,
      );
    }
    const events = (): ClientReadableStream<ContainerEventResponse> => {
      const stream = client.getContainerEvents({}, new Metadata());
      underWay.add(stream);
      stream.once('close', () => underWay.delete(stream));
      return stream;
    };
    const ended = untilNotReady(client).finally(() => signal?.removeEventListener('abort', close));
    return { runtime, ended, call, events, close };
  } catch (error) {
    signal?.removeEventListener('abort', close);
    close();
    throw error;
  }
}

function untilNotReady(client: RuntimeServiceClient): Promise<void> {
  const channel = client.getChannel();
  if (channel.getConnectivityState(false) !== connectivityState.READY) return Promise.resolve();
  return new Promise((resolve) => channel.watchConnectivityState(connectivityState.READY, Number.POSITIVE_INFINITY, () => resolve()));
}

interface CallContext {
  readonly client: RuntimeServiceClient;
  readonly endpoint: Endpoint;
  readonly underWay: Set<{ cancel(): void }>;
}

function unary<Request, Answer>(
  { client, endpoint, underWay }: CallContext,
  method: Method<Request, Answer>,
  request: Request,
  timeoutMs: number,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const done = (error: ServiceError | null, answer?: Answer): void => {
      underWay.delete(call);
      if (error !== null) reject(new RuntimeError(error.code, explain(method.path, endpoint, timeoutMs, error)));
      else if (answer === undefined)
        reject(new RuntimeError(status.INTERNAL, `${method.path} at ${endpoint.path}: an answer without a message`));
      else resolve(answer);
    };
    const options = { deadline: Date.now() + timeoutMs };
    const call = client.makeUnaryRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      request,
      new Metadata(),
      options,
      done,
    );
    underWay.add(call);
  });
}

function explain(methodPath: string, { path }: Endpoint, timeoutMs: number, error: ServiceError): string {
  const method = methodPath.slice(methodPath.lastIndexOf('/') + 1);
  const details = error.details;
  switch (error.code) {
    case status.CANCELLED:
      return `${method}: the question to the container runtime at ${path} was given up`;
    case status.DEADLINE_EXCEEDED:
      return `${method}: the container runtime at ${path} did not answer within ${Math.round(timeoutMs)} ms`;
    case status.UNAVAILABLE:
      if (details.includes('ENOENT')) return `the container runtime's socket ${path} does not exist: is the runtime running?`;
      if (details.includes('ECONNREFUSED')) return `nothing listens on the container runtime's socket ${path}: is the runtime running?`;
      if (details.includes('EACCES')) return `no permission to connect to the container runtime's socket ${path}: run as root`;
      return `${method}: lost the connection to the container runtime at ${path} (${details})`;
    case status.UNIMPLEMENTED:
      return `${method}: what listens on ${path} does not serve it in CRI v1 (${details}): update the runtime, or enable its CRI plugin`;
    case status.RESOURCE_EXHAUSTED:
      return `${method}: the answer of the container runtime at ${path} is too large: at most ${MAX_MESSAGE_BYTES} bytes are read (${details})`;
    default:
      return `${method}: the container runtime at ${path} answered ${status[error.code] ?? error.code}: ${details}`;
  }
}
