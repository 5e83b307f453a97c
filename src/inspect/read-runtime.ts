/** What runs and which images are there, asked of the container runtime once, within a deadline. A question that is not answered is `unknown`. */
import type { Connection } from '../sources/cri/client.ts';
import type { Container } from '../sources/cri/generated/runtime.ts';
import { each } from './each.ts';
import type { ImageState, RuntimeFacts } from './facts.ts';

/** Calls under way at once. */
const CALLS = 16;

/** @param images names of images, as pods have them; known once the store was read. */
export async function readRuntime(endpoint: string, timeoutMs: number, images: Promise<readonly string[]>): Promise<RuntimeFacts> {
  const deadline = performance.now() + timeoutMs;
  const remaining = () => Math.max(1, deadline - performance.now());
  let connection: Connection | undefined;
  try {
    const [{ connect, parseEndpoint }, { RuntimeServiceService }, { joinSandboxes }] = await Promise.all([
      import('../sources/cri/client.ts'),
      import('../sources/cri/generated/runtime.ts'),
      import('../sources/cri/join.ts'),
    ]);
    const open = await connect(parseEndpoint(endpoint), remaining());
    connection = open;
    const [sandboxes, { containers }] = await Promise.all([
      open.call(RuntimeServiceService.listPodSandbox, {}, remaining()),
      open.call(RuntimeServiceService.listContainers, {}, remaining()),
    ]);
    const details = await each(containers, CALLS, async ({ id }: Container) => {
      // A container that was removed since the list has no status, and no place in the answer.
      const { status } = await open
        .call(RuntimeServiceService.containerStatus, { containerId: id, verbose: false }, remaining())
        .catch(() => ({ status: undefined }));
      return [id, status] as const;
    });
    const known = new Map(details.flatMap(([id, status]) => (status === undefined ? [] : [[id, status] as const])));
    return {
      state: 'ok',
      name: open.runtime,
      sandboxes: joinSandboxes(sandboxes.items, containers, known),
      images: await readImages(open, await images, remaining),
    };
  } catch (error) {
    return { state: 'unknown', detail: error instanceof Error ? error.message : String(error) };
  } finally {
    connection?.close();
  }
}

async function readImages(connection: Connection, names: readonly string[], remaining: () => number): Promise<Map<string, ImageState>> {
  const { ImageServiceService } = await import('../sources/cri/generated/runtime.ts');
  const states = await each(names, CALLS, async (image): Promise<[string, ImageState]> => {
    try {
      const answer = await connection.call(
        ImageServiceService.imageStatus,
        { image: { image, annotations: {}, userSpecifiedImage: '', runtimeHandler: '' }, verbose: false },
        remaining(),
      );
      return [image, answer.image === undefined ? { state: 'missing' } : { state: 'present', ref: answer.image.id }];
    } catch (error) {
      return [image, { state: 'unknown', detail: error instanceof Error ? error.message : String(error) }];
    }
  });
  return new Map(states);
}
