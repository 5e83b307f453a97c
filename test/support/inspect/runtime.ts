/** A container runtime with both CRI services on a real unix socket: it has what it is given, and nothing else. */
import { Server, ServerCredentials, type ServerUnaryCall, type sendUnaryData } from '@grpc/grpc-js';
import {
  type Container,
  ImageServiceService,
  type ImageStatusRequest,
  type PodSandbox,
  RuntimeServiceService,
} from '../../../src/sources/cri/generated/runtime.ts';

export interface Node {
  readonly sandboxes: readonly PodSandbox[];
  readonly containers: readonly Container[];
  /** Names of the images that are there. */
  readonly images: readonly string[];
}

export async function startRuntime(socket: string, node: Node): Promise<{ stop(): void }> {
  const server = new Server();
  const answer =
    <Request, Answer>(give: (request: Request) => Answer) =>
    (call: ServerUnaryCall<Request, Answer>, done: sendUnaryData<Answer>): void =>
      done(null, give(call.request));
  server.addService(RuntimeServiceService, {
    version: answer(() => ({ version: '0.1.0', runtimeName: 'scripted', runtimeVersion: '1', runtimeApiVersion: 'v1' })),
    listPodSandbox: answer(() => ({ items: node.sandboxes })),
    listContainers: answer(() => ({ containers: node.containers })),
  });
  server.addService(ImageServiceService, {
    imageStatus: answer(({ image }: ImageStatusRequest) => {
      const name = image?.image ?? '';
      const found = {
        id: `sha256:${name}`,
        repoTags: [name],
        repoDigests: [],
        size: 1n,
        uid: undefined,
        username: '',
        spec: undefined,
        pinned: false,
      };
      return { image: node.images.includes(name) ? found : undefined, info: {} };
    }),
  });
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) => (error === null ? resolve() : reject(error)));
  });
  return { stop: () => server.forceShutdown() };
}
