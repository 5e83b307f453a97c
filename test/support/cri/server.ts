// A container runtime that answers what a test tells it to, on a real unix socket. What it is not told to serve is UNIMPLEMENTED.
import { Server, ServerCredentials, type ServerUnaryCall, type ServerWritableStream, type sendUnaryData, status } from '@grpc/grpc-js';
import {
  type Container,
  ContainerEventResponse,
  ContainerStatus,
  type PodSandbox,
  RuntimeServiceService,
  type VersionResponse,
} from '../../../src/sources/cri/generated/runtime.ts';

/** An answer, a status code that is the answer, or no answer at all. */
export type Behaviour<Answer> = Answer | { readonly code: status } | 'silence';

export class CriServer {
  readonly socket: string;
  version: Behaviour<VersionResponse> = { version: '0.1.0', runtimeName: 'scripted', runtimeVersion: '1', runtimeApiVersion: 'v1' };
  sandboxes: PodSandbox[] = [];
  containers: Container[] = [];
  containerStatus: (id: string) => Behaviour<Partial<ContainerStatus>> = () => ({ code: status.NOT_FOUND });
  stopContainer: (id: string, timeoutSeconds: number) => Behaviour<Record<string, never>> = () => ({});
  /** Whether ListPodSandbox answers. */
  listing: 'answers' | 'silence' = 'answers';
  events: 'open' | 'unimplemented' | 'ends' = 'open';
  /** Names of the methods called so far, in order. */
  readonly calls: string[] = [];
  readonly #streams = new Set<ServerWritableStream<unknown, ContainerEventResponse>>();
  #server: Server | undefined;

  constructor(socket: string) {
    this.socket = socket;
  }

  async start(): Promise<void> {
    const server = new Server({ 'grpc.max_send_message_length': -1 });
    server.addService(RuntimeServiceService, {
      version: this.#unary('Version', () => this.version),
      listPodSandbox: this.#unary('ListPodSandbox', () => (this.listing === 'answers' ? { items: this.sandboxes } : 'silence')),
      listContainers: this.#unary('ListContainers', () => ({ containers: this.containers })),
      containerStatus: this.#unary('ContainerStatus', ({ containerId }: { containerId: string }) => {
        const answer = this.containerStatus(containerId);
        return answer === 'silence' || 'code' in answer
          ? answer
          : { status: ContainerStatus.fromPartial({ id: containerId, ...answer }), info: {} };
      }),
      stopContainer: this.#unary('StopContainer', ({ containerId, timeout }: { containerId: string; timeout: bigint }) =>
        this.stopContainer(containerId, Number(timeout)),
      ),
      getContainerEvents: (stream: ServerWritableStream<unknown, ContainerEventResponse>) => {
        this.calls.push('GetContainerEvents');
        if (this.events === 'unimplemented') stream.emit('error', { code: status.UNIMPLEMENTED, details: 'no events' });
        else if (this.events === 'ends') stream.end();
        else {
          this.#streams.add(stream);
          stream.on('close', () => this.#streams.delete(stream));
          stream.on('cancelled', () => this.#streams.delete(stream));
        }
      },
    });
    await new Promise<void>((resolve, reject) => {
      server.bindAsync(`unix:${this.socket}`, ServerCredentials.createInsecure(), (error) => (error === null ? resolve() : reject(error)));
    });
    this.#server = server;
  }

  /** Breaks every connection and removes the socket. */
  stop(): void {
    this.#server?.forceShutdown();
    this.#server = undefined;
    this.#streams.clear();
  }

  get openStreams(): number {
    return this.#streams.size;
  }

  sendEvent(): void {
    for (const stream of this.#streams) stream.write(ContainerEventResponse.fromPartial({ containerId: 'any' }));
  }

  endStreams(): void {
    for (const stream of this.#streams) stream.end();
    this.#streams.clear();
  }

  count(method: string): number {
    return this.calls.filter((name) => name === method).length;
  }

  #unary<Request, Answer extends object>(method: string, behave: (request: Request) => Behaviour<Answer>) {
    return (call: ServerUnaryCall<Request, Answer>, done: sendUnaryData<Answer>): void => {
      this.calls.push(method);
      const answer = behave(call.request);
      if (answer === 'silence') return;
      if ('code' in answer) done({ code: answer.code, details: `told to answer ${status[answer.code]}` });
      else done(null, answer);
    };
  }
}
