import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pino } from 'pino';
import { describe, expect, it, vi } from 'vitest';
import type { Pulse } from '../../src/platform/health.ts';
import { createMetrics } from '../../src/platform/metrics.ts';
import { createEndpoint, parseListenAddress, type Served, serveMetrics } from '../../src/platform/metrics-server.ts';
import { until } from '../support/until.ts';

const LEADING: Pulse = { role: 'leading', since: 0, lastTurn: 100_000 };
const HOST = '127.0.0.1';

function served(pulse: Pulse = LEADING, now = 100_000): Served & { readonly metrics: ReturnType<typeof createMetrics> } {
  const metrics = createMetrics();
  return { metrics, registry: metrics.registry, pulse: () => pulse, clock: () => now };
}

describe('the metrics', () => {
  it('are served as text for Prometheus, and nothing but them and health is', async () => {
    const what = served();
    const server = await serveMetrics(what, { host: HOST, port: 0 });
    try {
      what.metrics.errors.inc({ operation: 'save', code: 'StoreFull' });
      const answer = await fetch(`http://${HOST}:${server.port}/metrics`);
      expect(answer.headers.get('content-type')).toContain('text/plain');
      expect(await answer.text()).toContain('pod_checkpointer_errors_total{operation="save",code="StoreFull"} 1');
      expect((await fetch(`http://${HOST}:${server.port}/`)).status).toBe(404);
      expect((await fetch(`http://${HOST}:${server.port}/metrics`, { method: 'POST' })).status).toBe(405);
    } finally {
      await server.close();
    }
  });

  it('fail to be served where the port is taken', async () => {
    const first = await serveMetrics(served(), { host: HOST, port: 0 });
    await expect(serveMetrics(served(), { host: HOST, port: first.port })).rejects.toThrow('EADDRINUSE');
    await first.close();
  });

  it.each([
    ['0', undefined],
    ['127.0.0.1:10290', { host: '127.0.0.1', port: 10290 }],
    ['[::1]:1', { host: '::1', port: 1 }],
    ['localhost:0', { host: 'localhost', port: 0 }],
  ])('take the address %s', (text, expected) => expect(parseListenAddress(text)).toEqual(expected));

  it.each(['', ':80', '127.0.0.1', '127.0.0.1:65536', '127.0.0.1:', 'http://x:1', '::1:80'])('refuse the address %j', (text) => {
    expect(() => parseListenAddress(text)).toThrow('is not an address');
  });
});

describe('health', () => {
  const ask = async (what: Served, path: string) => {
    const server = await serveMetrics(what, { host: HOST, port: 0 });
    try {
      const answer = await fetch(`http://${HOST}:${server.port}${path}`);
      return `${answer.status} ${await answer.text()}`;
    } finally {
      await server.close();
    }
  };

  it('says ok in one word, and in verbose what was looked at', async () => {
    expect(await ask(served(), '/livez')).toBe('200 ok');
    expect(await ask(served(), '/readyz?verbose')).toBe(
      '200 [+]ping ok\n[+]loop ok\n[+]leader ok: leading\n[+]first-decision ok\nreadyz check passed\n',
    );
  });

  it('fails a loop that has not turned for a minute', async () => {
    expect(await ask(served(LEADING, 160_000), '/livez')).toBe('200 ok');
    expect(await ask(served(LEADING, 161_000), '/livez')).toBe('500 [+]ping ok\n[-]loop failed: no turn for 61 s\nlivez check failed\n');
  });

  it('gives a leader that has decided nothing yet a minute, and does not call it ready', async () => {
    const pulse: Pulse = { role: 'leading', since: 100_000, lastTurn: undefined };
    expect(await ask(served(pulse, 150_000), '/livez')).toBe('200 ok');
    expect(await ask(served(pulse, 150_000), '/readyz')).toContain(
      '500 [+]ping ok\n[+]loop ok\n[+]leader ok: leading\n[-]first-decision failed',
    );
    expect(await ask(served(pulse, 161_000), '/livez')).toContain('500 ');
  });

  it('of a daemon that waits for another one is good however long it waits', async () => {
    const pulse: Pulse = { role: 'waiting', since: 0, lastTurn: undefined };
    expect(await ask(served(pulse, 9e9), '/livez')).toBe('200 ok');
    expect(await ask(served(pulse, 9e9), '/readyz?verbose')).toContain('[+]leader ok: waiting: another checkpointer leads on this node');
  });
});

describe('the endpoint', () => {
  it('is taken by the one that leads as soon as it is free, and a taken port is no failure', async () => {
    const holder = createServer((_, response) => response.end('holder'));
    await new Promise<void>((resolve) => holder.listen(0, HOST, resolve));
    const { port } = holder.address() as AddressInfo;
    const lines: string[] = [];
    const log = pino({}, { write: (line: string) => void lines.push(line) });
    const endpoint = createEndpoint(served(), { host: HOST, port }, log);
    try {
      endpoint.lead();
      await until(() => lines.some((line) => line.includes('EADDRINUSE')));
      holder.closeAllConnections();
      await new Promise((resolve) => holder.close(resolve));
      await until(async () => (await fetch(`http://${HOST}:${port}/livez`)).ok);
      expect(lines.filter((line) => line.includes('EADDRINUSE'))).toHaveLength(1);
    } finally {
      await endpoint.close();
    }
    await expect(fetch(`http://${HOST}:${port}/livez`)).rejects.toThrow();
  });

  it.each([true, false])('answers for one that waits unless it gave the lead to another: %s', async (waiter) => {
    vi.useFakeTimers({ toFake: ['setTimeout'] });
    const probe = createServer();
    await new Promise<void>((resolve) => probe.listen(0, HOST, resolve));
    const { port } = probe.address() as AddressInfo;
    await new Promise((resolve) => probe.close(resolve));
    const lines: string[] = [];
    const log = pino({}, { write: (line: string) => void lines.push(line) });
    const endpoint = createEndpoint(served(), { host: HOST, port }, log, waiter);
    try {
      await vi.advanceTimersByTimeAsync(60_000);
      vi.useRealTimers();
      if (waiter) await until(() => lines.some((line) => line.includes('are served')));
      await expect(
        fetch(`http://${HOST}:${port}/livez`).then(
          ({ ok }) => ok,
          () => false,
        ),
      ).resolves.toBe(waiter);
      endpoint.lead();
      await until(async () =>
        fetch(`http://${HOST}:${port}/livez`).then(
          ({ ok }) => ok,
          () => false,
        ),
      );
    } finally {
      vi.useRealTimers();
      await endpoint.close();
    }
  });

  it('serves nowhere where there is no address', async () => {
    const endpoint = createEndpoint(served(), undefined, pino({ enabled: false }));
    endpoint.lead();
    await endpoint.close();
  });
});
