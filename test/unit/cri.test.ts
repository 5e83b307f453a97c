import { describe, expect, test } from 'vitest';
import { parseEndpoint } from '../../src/sources/cri/client.ts';
import { Container, ContainerState, PodSandbox, PodSandboxState } from '../../src/sources/cri/generated/runtime.ts';
import { type ContainerDetail, joinSandboxes } from '../../src/sources/cri/join.ts';

describe('the endpoint of the container runtime', () => {
  test.each([
    ['unix:///run/containerd/containerd.sock', '/run/containerd/containerd.sock'],
    ['/run/crio/crio.sock', '/run/crio/crio.sock'],
  ])('%s is a unix socket', (text, path) => {
    expect(parseEndpoint(text)).toEqual({ path });
  });

  test.each([
    ['', 'is empty'],
    ['unix://', 'has no path'],
    ['unix:///', 'has no path'],
    ['tcp://127.0.0.1:1234', 'is not a unix socket'],
    ['npipe:////./pipe/containerd', 'is not a unix socket'],
    ['unix://run/containerd.sock', 'is not an absolute path'],
    ['containerd.sock', 'is not an absolute path'],
    ['/run/a\nb', 'has a line break'],
    [`/run/${'x'.repeat(120)}`, 'is longer than the 107 bytes'],
  ])('%j is an error of one line', (text, message) => {
    expect(() => parseEndpoint(text)).toThrow(message);
    expect(() => parseEndpoint(text)).toThrow(/^container runtime endpoint [^\n]*: expected a unix socket[^\n]*$/);
  });
});

describe('sandboxes with their containers', () => {
  const sandbox = PodSandbox.fromPartial({
    id: 's1',
    metadata: { name: 'web-1', namespace: 'ns', uid: 'u1', attempt: 3 },
    state: PodSandboxState.SANDBOX_READY,
    createdAt: 1_700_000_000_999_999_999n,
    labels: { a: 'b' },
    annotations: { c: 'd' },
  });
  const container = (id: string, name: string, attempt: number, podSandboxId = 's1'): Container =>
    Container.fromPartial({ id, podSandboxId, metadata: { name, attempt }, image: { image: 'sha256:1', userSpecifiedImage: 'web:1' } });
  const detail = (state: ContainerState, exitCode = 0): ContainerDetail => ({ state, startedAt: 2_999_999n, finishedAt: 0n, exitCode });
  const all = (...ids: string[]): Map<string, ContainerDetail> => new Map(ids.map((id) => [id, detail(ContainerState.CONTAINER_RUNNING)]));

  test('carry identity, state and times in whole milliseconds', () => {
    expect(joinSandboxes([sandbox], [], new Map())).toEqual([
      {
        id: 's1',
        name: 'web-1',
        namespace: 'ns',
        uid: 'u1',
        attempt: 3,
        ready: true,
        createdAt: 1_700_000_000_999,
        labels: { a: 'b' },
        annotations: { c: 'd' },
        containers: [],
      },
    ]);
    expect(joinSandboxes([sandbox], [container('c1', 'web', 0)], all('c1'))[0]?.containers[0]).toMatchObject({
      startedAt: 2,
      finishedAt: 0,
    });
  });

  test('have every attempt, by name, the newest first', () => {
    const containers = [container('c1', 'web', 0), container('c2', 'init', 1), container('c3', 'web', 10), container('c4', 'web', 2)];
    const [joined] = joinSandboxes([sandbox], containers, all('c1', 'c2', 'c3', 'c4'));
    expect(joined?.containers.map(({ id }) => id)).toEqual(['c2', 'c3', 'c4', 'c1']);
  });

  test('leave out containers without detail and containers of sandboxes that are not listed', () => {
    const containers = [container('removed', 'web', 0), container('elsewhere', 'web', 0, 's2')];
    expect(joinSandboxes([sandbox], containers, all('elsewhere'))[0]?.containers).toEqual([]);
  });

  test.each([
    [ContainerState.CONTAINER_CREATED, 'created'],
    [ContainerState.CONTAINER_RUNNING, 'running'],
    [ContainerState.CONTAINER_EXITED, 'exited'],
    [ContainerState.CONTAINER_UNKNOWN, 'unknown'],
    [ContainerState.UNRECOGNIZED, 'unknown'],
  ])('name CRI state %i %s', (state, name) => {
    expect(joinSandboxes([sandbox], [container('c1', 'web', 0)], new Map([['c1', detail(state)]]))[0]?.containers[0]?.state).toBe(name);
  });

  test('take the image as the pod names it, else as the runtime was given it', () => {
    const older = Container.fromPartial({ id: 'c2', podSandboxId: 's1', metadata: { name: 'x' }, image: { image: 'web:0' } });
    const [joined] = joinSandboxes([sandbox], [container('c1', 'web', 0), older], all('c1', 'c2'));
    expect(joined?.containers.map(({ image }) => image)).toEqual(['web:1', 'web:0']);
  });

  test('that are not ready say so', () => {
    const stopped = { ...sandbox, state: PodSandboxState.SANDBOX_NOTREADY };
    expect(joinSandboxes([stopped], [], new Map())[0]?.ready).toBe(false);
  });
});
