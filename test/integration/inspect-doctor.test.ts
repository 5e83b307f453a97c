/** The doctor as a process, and its questions to an API server over real TLS. */
import { mkdirSync, writeFileSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Check } from '../../src/inspect/doctor/checks.ts';
import { nodeQuestions, readAccess, readClockAhead } from '../../src/inspect/doctor/read-access.ts';
import { parseKubeconfig } from '../../src/sources/api/kubeconfig.ts';
import type { FakeApiServer } from '../support/api/fake-server.ts';
import { NODE, nodeKubeconfig, startServer } from '../support/api/setup.ts';
import { checkpointer, testHost } from '../support/host/host.ts';
import { startRuntime } from '../support/inspect/runtime.ts';

interface Asked {
  readonly verb: string;
  readonly resource: string;
  readonly fieldSelector?: object;
}

/** Answers reviews as the Node authorizer does: the pods of this node only, no Secrets in general. Keeps what it was asked. */
function reviewing(
  server: FakeApiServer,
  allowed: (asked: Asked) => boolean,
): { readonly asked: Asked[]; readonly date: (date: Date) => void } {
  const asked: Asked[] = [];
  let date: Date | undefined;
  const answer = async (path: string, response: ServerResponse): Promise<void> => {
    const body = JSON.parse(await text(response.req)) as { spec?: { resourceAttributes: Asked } };
    if (path.endsWith('/selfsubjectreviews')) response.end(JSON.stringify({ status: { userInfo: { username: `system:node:${NODE}` } } }));
    else if (body.spec !== undefined) {
      asked.push(body.spec.resourceAttributes);
      response.end(JSON.stringify({ status: { allowed: allowed(body.spec.resourceAttributes) } }));
    }
  };
  server.hook = ({ path }, response) => {
    if (date !== undefined) response.setHeader('date', date.toUTCString());
    if (!path.startsWith('/apis/auth')) return false;
    void answer(path, response);
    return true;
  };
  return {
    asked,
    date: (given) => {
      date = given;
    },
  };
}

const likeANode = ({ verb, resource, fieldSelector }: Asked) =>
  resource === 'pods' ? fieldSelector !== undefined : resource === 'events' || (resource === 'nodes' && verb === 'patch');

describe('the questions of the doctor', () => {
  it('are asked as the node may ask them: its own pods by name', async () => {
    const server = await startServer();
    const { asked } = reviewing(server, likeANode);
    const config = parseKubeconfig(await nodeKubeconfig(server.url), '/etc/kubernetes/kubelet.conf');
    const found = await readAccess(config, (user) => nodeQuestions(user?.replace('system:node:', '') ?? ''), 5_000);
    expect(found).toEqual({
      state: 'read',
      user: `system:node:${NODE}`,
      reviews: [
        { what: 'list the pods of this node', wanted: true, allowed: true },
        { what: 'watch the pods of this node', wanted: true, allowed: true },
        { what: 'create events', wanted: true, allowed: true },
        { what: "patch this node's status", wanted: true, allowed: true },
        { what: 'list all Secrets', wanted: false, allowed: false },
      ],
    });
    expect(asked[0]).toMatchObject({ fieldSelector: { requirements: [{ key: 'spec.nodeName', operator: 'In', values: [NODE] }] } });
  });

  it('stay unanswered where the API server does not answer, within the time', async () => {
    const server = await startServer();
    const config = parseKubeconfig(await nodeKubeconfig(server.url), '/k');
    server.hook = () => true;
    const started = performance.now();
    expect(await readAccess(config, () => nodeQuestions('n'), 200)).toMatchObject({ state: 'unknown' });
    expect(await readClockAhead(config, 200)).toBeUndefined();
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  it("are also what the API server's clock says", async () => {
    const server = await startServer();
    const { date } = reviewing(server, likeANode);
    const config = parseKubeconfig(await nodeKubeconfig(server.url), '/k');
    date(new Date(1_800_000_000_000));
    expect(await readClockAhead(config, 5_000, () => 1_800_000_042_000)).toBe(42_000);
  });
});

describe('checkpointer doctor', () => {
  it('checks everything that it can see, in a document for programs, and ends with 3 when something is wrong', async () => {
    const host = await testHost();
    onTestFinished(() => host[Symbol.asyncDispose]());
    const server = await startServer();
    reviewing(server, likeANode);
    writeFileSync(join(host.dir, 'kubelet.conf'), await nodeKubeconfig(server.url));
    const root = join(host.dir, 'root');
    mkdirSync(join(root, 'var/lib/kubelet'), { recursive: true });
    writeFileSync(join(root, 'var/lib/kubelet/config.yaml'), 'staticPodPath: /somewhere/else\n');
    const runtime = await startRuntime(join(host.dir, 'cri.sock'), { sandboxes: [], containers: [], images: [] });
    onTestFinished(() => runtime.stop());
    const { code, out } = await checkpointer(
      'doctor',
      '-o',
      'json',
      ...host.flags(),
      `--host-root=${root}`,
      `--container-runtime-endpoint=unix://${host.dir}/cri.sock`,
      '--probe-timeout=5s',
    );
    const document = JSON.parse(out) as { version: number; checks: Check[] };
    const state = (name: string) => document.checks.find(({ check }) => check === name)?.state;
    expect(document.version).toBe(1);
    expect(document.checks.filter(({ check }) => check === 'Static pods')).toMatchObject([
      { state: 'fail', seen: expect.stringContaining('/somewhere/else') },
    ]);
    expect([state('Container runtime'), state('API server'), state('Node identity'), state('Clock'), state('Boot id')]).toEqual([
      'ok',
      'ok',
      'ok',
      'ok',
      'ok',
    ]);
    expect([state('Owners identity'), state('Boot unit'), state('Leader')]).toEqual(['warn', 'warn', 'warn']);
    expect(code).toBe(3);
  });

  it('says for each finding what to do, without anything to look at', async () => {
    const nothing = '/nonexistent';
    const places = [
      `--checkpoint-dir=${nothing}`,
      `--pod-manifest-path=${nothing}`,
      `--lock-file=${nothing}/l`,
      `--boot-id-file=${nothing}`,
    ];
    const { code, out, err } = await checkpointer(
      'doctor',
      ...places,
      `--kubeconfig=${nothing}`,
      `--container-runtime-endpoint=unix://${nothing}`,
    );
    expect(out).toContain('fail      Checkpoint directory   /nonexistent does not exist');
    expect(out).toContain('  Checkpoint directory: Make it and mount it, or set --checkpoint-dir.');
    expect([code, err]).toEqual([3, '']);
  });
});

describe('checkpointer version', () => {
  it('says what the build is made of', async () => {
    const { code, out } = await checkpointer('version', '-o', 'json');
    expect(JSON.parse(out)).toMatchObject({ version: 'dev', packed: 'sources', node: process.versions.node, storeFormat: 1 });
    expect(code).toBe(0);
  });
});
