/** The kubelet's side of CRI: the calls it makes, as promises, each with a deadline. */
import { type ClientReadableStream, credentials, Metadata, type ServiceError, status } from '@grpc/grpc-js';
import {
  type Container,
  type ContainerConfig,
  type ContainerEventResponse,
  type ContainerStatus,
  ImageServiceClient,
  type PodSandbox,
  type PodSandboxConfig,
  type PodSandboxStatus,
  RuntimeServiceClient,
} from '../../sources/cri/generated/runtime.ts';

export interface CriClient {
  version(): Promise<string>;
  listSandboxes(): Promise<PodSandbox[]>;
  listContainers(): Promise<Container[]>;
  sandboxStatus(id: string): Promise<PodSandboxStatus | undefined>;
  containerStatus(id: string): Promise<ContainerStatus | undefined>;
  runSandbox(config: PodSandboxConfig): Promise<string>;
  stopSandbox(id: string): Promise<void>;
  removeSandbox(id: string): Promise<void>;
  createContainer(sandboxId: string, config: ContainerConfig, sandbox: PodSandboxConfig): Promise<string>;
  startContainer(id: string): Promise<void>;
  stopContainer(id: string, timeoutSeconds: number): Promise<void>;
  removeContainer(id: string): Promise<void>;
  hasImage(reference: string): Promise<boolean>;
  pullImage(reference: string): Promise<void>;
  events(): ClientReadableStream<ContainerEventResponse>;
  close(): void;
}

type Callback<Response> = (error: ServiceError | null, response: Response) => void;

/** `unix:///run/containerd/containerd.sock`; `deadlineMs` for each call, a stop has its timeout on top. Failures are thrown as the runtime gave them. */
export function connectCri(endpoint: string, deadlineMs = 120_000): CriClient {
  const address = endpoint.replace(/^unix:\/\/(?=\/)/, 'unix:');
  const options = {
    'grpc.max_receive_message_length': 16 * 1024 * 1024,
    'grpc.initial_reconnect_backoff_ms': 100,
    'grpc.min_reconnect_backoff_ms': 100,
    'grpc.max_reconnect_backoff_ms': 1000,
  };
  const runtime = new RuntimeServiceClient(address, credentials.createInsecure(), options);
  const images = new ImageServiceClient(address, credentials.createInsecure(), options);
  const within = (extraMs = 0) => ({ deadline: Date.now() + deadlineMs + extraMs });
  const call = <Response>(start: (callback: Callback<Response>) => void): Promise<Response> =>
    new Promise((resolve, reject) => start((error, response) => (error === null ? resolve(response) : reject(error))));
  // The runtime may start after the kubelet: a call waits for it, up to its deadline.
  const metadata = () => new Metadata({ waitForReady: true });

  return {
    version: async () => {
      const answer = await call<{ runtimeName: string; runtimeVersion: string }>((done) =>
        runtime.version({ version: '0.1.0' }, metadata(), within(), done),
      );
      return `${answer.runtimeName} ${answer.runtimeVersion}`;
    },
    listSandboxes: async () =>
      (await call<{ items: PodSandbox[] }>((done) => runtime.listPodSandbox({}, metadata(), within(), done))).items,
    listContainers: async () =>
      (await call<{ containers: Container[] }>((done) => runtime.listContainers({}, metadata(), within(), done))).containers,
    sandboxStatus: async (podSandboxId) =>
      (
        await orUndefined(
          call<{ status?: PodSandboxStatus | undefined }>((done) =>
            runtime.podSandboxStatus({ podSandboxId, verbose: false }, metadata(), within(), done),
          ),
        )
      )?.status,
    containerStatus: async (containerId) =>
      (
        await orUndefined(
          call<{ status?: ContainerStatus | undefined }>((done) =>
            runtime.containerStatus({ containerId, verbose: false }, metadata(), within(), done),
          ),
        )
      )?.status,
    runSandbox: async (config) =>
      (await call<{ podSandboxId: string }>((done) => runtime.runPodSandbox({ config, runtimeHandler: '' }, metadata(), within(), done)))
        .podSandboxId,
    stopSandbox: async (podSandboxId) => {
      await call<object>((done) => runtime.stopPodSandbox({ podSandboxId }, metadata(), within(), done));
    },
    removeSandbox: async (podSandboxId) => {
      await call<object>((done) => runtime.removePodSandbox({ podSandboxId }, metadata(), within(), done));
    },
    createContainer: async (podSandboxId, config, sandboxConfig) =>
      (
        await call<{ containerId: string }>((done) =>
          runtime.createContainer({ podSandboxId, config, sandboxConfig }, metadata(), within(), done),
        )
      ).containerId,
    startContainer: async (containerId) => {
      await call<object>((done) => runtime.startContainer({ containerId }, metadata(), within(), done));
    },
    stopContainer: async (containerId, timeoutSeconds) => {
      const request = { containerId, timeout: BigInt(timeoutSeconds) };
      await orUndefined(call<object>((done) => runtime.stopContainer(request, metadata(), within(timeoutSeconds * 1000), done)));
    },
    removeContainer: async (containerId) => {
      await call<object>((done) => runtime.removeContainer({ containerId }, metadata(), within(), done));
    },
    hasImage: async (reference) => {
      const request = { image: imageSpec(reference), verbose: false };
      return (
        (await call<{ image?: object | undefined }>((done) => images.imageStatus(request, metadata(), within(), done))).image !== undefined
      );
    },
    pullImage: async (reference) => {
      await call<object>((done) => images.pullImage({ image: imageSpec(reference) }, metadata(), within(), done));
    },
    events: () => runtime.getContainerEvents({}, metadata()),
    close: () => {
      runtime.close();
      images.close();
    },
  };
}

export function imageSpec(image: string) {
  return { image, annotations: {}, userSpecifiedImage: image, runtimeHandler: '' };
}

/** What is gone is an answer, not a failure. */
async function orUndefined<T>(answer: Promise<T>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

function isNotFound(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === status.NOT_FOUND;
}
