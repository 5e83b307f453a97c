/** What runs and which images are there, asked of the container runtime once, within a deadline. A question that is not answered is `unknown`. */
import type { Connection } from '../sources/cri/client.ts';
import { each } from './each.ts';
import type { ImageState, RuntimeFacts } from './facts.ts';

/** Calls under way at once. */
const CALLS = 16;

/** @param images names of images, as pods have them; known once the store was read. */
export async function readRuntime(endpoint: string, timeoutMs: number, images: Promise<readonly string[]>): Promise<RuntimeFacts> {
  let connection: Connection | undefined;
  let deadline = Number.POSITIVE_INFINITY;
  try {
    const [{ connect, parseEndpoint }, { RuntimeServiceService }, { joinSandboxes }] = await Promise.all([
      import('../sources/cri/client.ts'),
      import('../sources/cri/generated/runtime.ts'),
      import('../sources/cri/join.ts'),
    ]);
    // Only now: on a node that has its hands full our own code takes longer to load than a runtime to answer.
    deadline = performance.now() + timeoutMs;
    const remaining = () => Math.max(1, deadline - performance.now());
    const open = await connect(parseEndpoint(endpoint), remaining());
    connection = open;
    const [sandboxes, { containers }] = await Promise.all([
      open.call(RuntimeServiceService.listPodSandbox, {}, remaining()),
      open.call(RuntimeServiceService.listContainers, {}, remaining()),
    ]);
    // What only a container's status says (when it started, how it ended) is not worth a call for each: it is started as soon as it is created.
    const details = containers.map(
      ({ id, state, createdAt }) => [id, { state, startedAt: createdAt, finishedAt: 0n, exitCode: 0 }] as const,
    );
    return {
      state: 'ok',
      name: open.runtime,
      sandboxes: joinSandboxes(sandboxes.items, containers, new Map(details)),
      images: await readImages(open, await images, timeoutMs),
    };
  } catch (error) {
    // In the same words each time, whatever was left of it for the last question.
    const late = performance.now() >= deadline - 1;
    const detail = error instanceof Error ? error.message : String(error);
    return { state: 'unknown', detail: late ? `the container runtime at ${endpoint} did not answer within ${timeoutMs} ms` : detail };
  } finally {
    connection?.close();
  }
}

/** Within a time of its own: which images are asked about is known only when the store was read, however long that took. */
async function readImages(connection: Connection, names: readonly string[], timeoutMs: number): Promise<Map<string, ImageState>> {
  const deadline = performance.now() + timeoutMs;
  const { ImageServiceService } = await import('../sources/cri/generated/runtime.ts');
  const states = await each(names, CALLS, async (image): Promise<[string, ImageState]> => {
    try {
      const answer = await connection.call(
        ImageServiceService.imageStatus,
        { image: { image, annotations: {}, userSpecifiedImage: '', runtimeHandler: '' }, verbose: false },
        Math.max(1, deadline - performance.now()),
      );
      return [image, answer.image === undefined ? { state: 'missing' } : { state: 'present', ref: answer.image.id }];
    } catch (error) {
      return [image, { state: 'unknown', detail: error instanceof Error ? error.message : String(error) }];
    }
  });
  return new Map(states);
}
