import { describe, expect, it } from 'vitest';
import { createMetrics } from '../../src/platform/metrics.ts';
import { parseListenAddress, serveMetrics } from '../../src/platform/metrics-server.ts';

describe('the metrics', () => {
  it('are served as text for Prometheus, and nothing else is', async () => {
    const metrics = createMetrics();
    const server = await serveMetrics(metrics.registry, { host: '127.0.0.1', port: 0 });
    try {
      metrics.storeFailures.inc({ failure: 'NoSpace', action: 'save' });
      const answer = await fetch(`http://127.0.0.1:${server.port}/metrics`);
      expect(answer.headers.get('content-type')).toContain('text/plain');
      expect(await answer.text()).toContain('pod_checkpointer_store_failures_total{failure="NoSpace",action="save"} 1');
      expect((await fetch(`http://127.0.0.1:${server.port}/`)).status).toBe(404);
      expect((await fetch(`http://127.0.0.1:${server.port}/metrics`, { method: 'POST' })).status).toBe(404);
    } finally {
      await server.close();
    }
  });

  it('fail to be served where the port is taken', async () => {
    const first = await serveMetrics(createMetrics().registry, { host: '127.0.0.1', port: 0 });
    await expect(serveMetrics(createMetrics().registry, { host: '127.0.0.1', port: first.port })).rejects.toThrow('EADDRINUSE');
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
