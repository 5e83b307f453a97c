/** CRI v1 (RuntimeService and ImageService) in front of the embedded runtime. */
import { type handleUnaryCall, Metadata, type ServerWritableStream, type StatusObject, status } from '@grpc/grpc-js';
import {
  type ContainerConfig,
  ContainerEventResponse,
  ContainerEventType,
  type GetEventsRequest,
  type ImageServiceServer,
  NamespaceMode,
  type PodSandboxConfig,
  type RuntimeServiceServer,
} from '../../sources/cri/generated/runtime.ts';
import { containerMessage, containerStatusMessage, hasLabels, nanoseconds, sandboxMessage, sandboxStatusMessage } from './convert.ts';
import type { ImageTable } from './images.ts';
import type { Records } from './records.ts';
import { Runtime, type ContainerConfig as RuntimeContainerConfig, RuntimeError, type RuntimeEvent, type SandboxConfig } from './runtime.ts';

const EVENTS: Readonly<Record<RuntimeEvent, ContainerEventType>> = {
  created: ContainerEventType.CONTAINER_CREATED_EVENT,
  started: ContainerEventType.CONTAINER_STARTED_EVENT,
  stopped: ContainerEventType.CONTAINER_STOPPED_EVENT,
  deleted: ContainerEventType.CONTAINER_DELETED_EVENT,
};

const CODES = { NotFound: status.NOT_FOUND, FailedPrecondition: status.FAILED_PRECONDITION, Unknown: status.UNKNOWN } as const;

type EventStream = ServerWritableStream<GetEventsRequest, ContainerEventResponse>;

export interface CriServices {
  readonly runtimeService: RuntimeServiceServer;
  readonly imageService: ImageServiceServer;
}

export function criServices(records: Records, images: ImageTable): CriServices {
  const streams = new Set<EventStream>();
  const runtime = new Runtime(records, images, (event, sandboxId, containerId) => {
    const sandbox = records.sandboxes.get(sandboxId);
    const response = ContainerEventResponse.fromPartial({
      containerId,
      containerEventType: EVENTS[event],
      createdAt: nanoseconds(Date.now()),
      ...(sandbox === undefined ? {} : { podSandboxStatus: sandboxStatusMessage(sandbox, runtime.isReady(sandbox)) }),
      containersStatuses: runtime
        .containers()
        .filter((container) => container.sandboxId === sandboxId)
        .map(containerStatusMessage),
    });
    for (const stream of streams) stream.write(response);
  });
  runtime.adopt();
  return { runtimeService: runtimeService(runtime, streams), imageService: imageService(runtime, records) };
}

function runtimeService(runtime: Runtime, streams: Set<EventStream>): RuntimeServiceServer {
  return {
    version: unary(() => ({ version: '0.1.0', runtimeName: 'embedded', runtimeVersion: '1', runtimeApiVersion: 'v1' })),
    status: unary(() => ({
      status: { conditions: ['RuntimeReady', 'NetworkReady'].map((type) => ({ type, status: true, reason: '', message: '' })) },
      info: {},
      runtimeHandlers: [],
    })),
    runPodSandbox: unary(async ({ config }) => ({ podSandboxId: await runtime.runSandbox(sandboxConfig(config)) })),
    stopPodSandbox: unary(async ({ podSandboxId }) => {
      await runtime.stopSandbox(podSandboxId);
      return {};
    }),
    removePodSandbox: unary(async ({ podSandboxId }) => {
      await runtime.removeSandbox(podSandboxId);
      return {};
    }),
    podSandboxStatus: unary(({ podSandboxId }) => {
      const sandbox = runtime.sandbox(podSandboxId);
      const containersStatuses = runtime
        .containers()
        .filter((container) => container.sandboxId === podSandboxId)
        .map(containerStatusMessage);
      return {
        status: sandboxStatusMessage(sandbox, runtime.isReady(sandbox)),
        info: {},
        containersStatuses,
        timestamp: nanoseconds(Date.now()),
      };
    }),
    listPodSandbox: unary(({ filter }) => ({
      items: runtime
        .sandboxes()
        .filter((sandbox) => filter === undefined || (matchesId(sandbox.id, filter.id) && hasLabels(sandbox.labels, filter.labelSelector)))
        .map((sandbox) => sandboxMessage(sandbox, runtime.isReady(sandbox)))
        .filter((message) => filter?.state === undefined || message.state === filter.state.state),
    })),
    createContainer: unary(({ podSandboxId, config }) => ({ containerId: runtime.createContainer(podSandboxId, containerConfig(config)) })),
    startContainer: unary(async ({ containerId }) => {
      await runtime.startContainer(containerId);
      return {};
    }),
    stopContainer: unary(async ({ containerId, timeout }) => {
      await runtime.stopContainer(containerId, Number(timeout));
      return {};
    }),
    removeContainer: unary(async ({ containerId }) => {
      await runtime.removeContainer(containerId);
      return {};
    }),
    listContainers: unary(({ filter }) => ({
      containers: runtime
        .containers()
        .filter(
          (container) => filter === undefined || (matchesId(container.id, filter.id) && hasLabels(container.labels, filter.labelSelector)),
        )
        .filter((container) => !filter?.podSandboxId || container.sandboxId === filter.podSandboxId)
        .map(containerMessage)
        .filter((message) => filter?.state === undefined || message.state === filter.state.state),
    })),
    containerStatus: unary(({ containerId }) => ({ status: containerStatusMessage(runtime.container(containerId)), info: {} })),
    getContainerEvents: (stream) => {
      streams.add(stream);
      // Headers at once: a client waits for them to know that it is subscribed.
      stream.sendMetadata(new Metadata());
      for (const end of ['cancelled', 'close', 'error']) stream.on(end, () => streams.delete(stream));
    },
  };
}

function imageService(runtime: Runtime, records: Records): ImageServiceServer {
  const message = (reference: string) => ({
    id: reference,
    repoTags: [reference],
    repoDigests: [],
    size: 1n,
    username: '',
    spec: { image: reference, annotations: {}, userSpecifiedImage: reference, runtimeHandler: '' },
    pinned: false,
  });
  return {
    listImages: unary(() => ({ images: runtime.images().map(message) })),
    imageStatus: unary(({ image }) => {
      const reference = image?.image ?? '';
      return { info: {}, ...(runtime.image(reference) === undefined ? {} : { image: message(reference) }) };
    }),
    pullImage: unary(({ image }) => {
      const reference = image?.image ?? '';
      runtime.pullImage(reference);
      return { imageRef: reference };
    }),
    removeImage: unary(({ image }) => {
      records.setPulled(image?.image ?? '', false);
      return {};
    }),
    imageFsInfo: unary(() => ({ imageFilesystems: [], containerFilesystems: [] })),
  };
}

/** A prefix of an id is enough, as with containerd. */
function matchesId(id: string, wanted: string): boolean {
  return id.startsWith(wanted);
}

function sandboxConfig(config: PodSandboxConfig | undefined): SandboxConfig {
  if (config?.metadata === undefined) throw new RuntimeError('Unknown', 'RunPodSandbox: config.metadata is missing');
  return {
    metadata: config.metadata,
    labels: config.labels,
    annotations: config.annotations,
    logDirectory: config.logDirectory,
    hostNetwork: config.linux?.securityContext?.namespaceOptions?.network === NamespaceMode.NODE,
  };
}

function containerConfig(config: ContainerConfig | undefined): RuntimeContainerConfig {
  if (config?.metadata === undefined || config.image === undefined)
    throw new RuntimeError('Unknown', 'CreateContainer: config.metadata or config.image is missing');
  return {
    metadata: config.metadata,
    image: config.image.image,
    command: config.command,
    args: config.args,
    env: config.envs,
    workingDir: config.workingDir,
    mounts: config.mounts.map(({ containerPath, hostPath, readonly }) => ({ containerPath, hostPath, readonly })),
    labels: config.labels,
    annotations: config.annotations,
    logPath: config.logPath,
  };
}

function unary<Request, Response>(handle: (request: Request) => Response | Promise<Response>): handleUnaryCall<Request, Response> {
  return (call, callback) => {
    Promise.resolve()
      .then(() => handle(call.request))
      .then(
        (response) => callback(null, response),
        (error: unknown) => callback(grpcError(error)),
      );
  };
}

function grpcError(error: unknown): Partial<StatusObject> {
  if (error instanceof RuntimeError) return { code: CODES[error.code], details: error.message };
  return { code: status.INTERNAL, details: error instanceof Error ? error.message : String(error) };
}
