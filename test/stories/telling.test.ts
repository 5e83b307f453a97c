/** What the daemon tells while a node loses its power and comes back: the alerts that follow from its metrics, Events, and never a Secret. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { CoreV1Event, V1Node, V1Pod } from '@kubernetes/client-node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CHECKPOINT } from '../../src/checkpoint/annotations.ts';
import { type DaemonLog, followDaemons } from '../../src/embedded/demo/daemon-log.ts';
import { cutPower, install } from '../../src/embedded/demo/story.ts';
import { createNode, type EmbeddedNode } from '../../src/embedded/node/node.ts';
import { CONDITION_TYPE } from '../../src/report/condition.ts';
import { readHistory } from '../../src/report/history.ts';
import { readStatus } from '../../src/status.ts';
import { findProgram, missingPackages } from '../support/packages.ts';
import { INTERVAL_SECONDS, recordScrapes, type Scrapes } from '../support/scrapes.ts';
import { skipLoudly } from '../support/skip.ts';

const ROOT = join(import.meta.dirname, '../..');
const DIST = join(ROOT, 'dist');
const ALERTS = join(ROOT, 'manifests/monitoring/alerts.yaml');
const EVERY_MS = 100;
const TARGET = { job: 'pod-checkpointer', instance: 'master-1:10290' };
const LABELS = `job="${TARGET.job}",instance="${TARGET.instance}"`;
const NAMESPACE = '/api/v1/namespaces/kube-system';

/** In a volume, in an environment variable, and in both forms in which the API has them. */
const PLANTED = { file: 'planted-in-a-volume-4f1c', env: 'planted-in-the-environment-9d2e' };
const base64 = (text: string) => Buffer.from(text).toString('base64');

const missing = missingPackages(['prometheus']);
const reason = missing.length === 0 ? undefined : 'no promtool: apt-get install prometheus';

describe('a power cut', () => {
  let node: EmbeddedNode;
  let log: DaemonLog;
  let scrapes: Scrapes;

  beforeAll(async () => {
    node = await createNode({
      embedded: [process.execPath, join(DIST, 'embedded.js')],
      checkpointer: [process.execPath, join(DIST, 'checkpointer.js')],
      checkpointerFlags: ['--prove-after=2s', '--stable-for=5s', '--v=5'],
    });
    log = followDaemons(node, () => undefined);
    await install(node);
    scrapes = recordScrapes(`http://127.0.0.1:${node.ports.checkpointer}/metrics`, TARGET, EVERY_MS);
  }, 120_000);
  afterAll(async () => {
    await scrapes.stop();
    await log.stop();
    await node.destroy();
  });

  /** Waits for a sample from now on. */
  const sampled = (what: string, series: string, holds: (value: number | undefined) => boolean) => {
    const from = scrapes.count();
    return node.waitFor(what, () => scrapes.values(series).slice(from).some(holds), 60_000);
  };
  const samplesFrom = (from: number, count: number) => node.waitFor(`${count} samples`, () => scrapes.count() >= from + count, 60_000);

  it.skipIf(skipLoudly('the alerts of a power cut', reason))(
    'makes the alerts fire that it should, and they resolve when the real pods are back',
    async () => {
      const active = `pod_checkpointer_checkpoints{state="active",${LABELS}}`;
      await samplesFrom(0, 15);
      const quiet = scrapes.count() - 1;
      await node.powerOff();
      // up == 0 for 5m
      await samplesFrom(scrapes.count(), 15);
      const dark = scrapes.count() - 1;
      await Promise.all([cutPower(node, log), sampled('copies are active', active, (value) => (value ?? 0) > 0)]);
      await sampled('no copy is active any more', active, (value) => value === 0);
      // Until every metric has been served for as long as any rule looks back to a failed scrape.
      await samplesFrom(scrapes.count(), 20);
      await scrapes.stop();

      const lastActive = scrapes.values(active).findLastIndex((value) => (value ?? 0) > 0);
      const firing = (at: number) => ({
        eval_time: `${at * INTERVAL_SECONDS}s`,
        expr: 'count by (alertname) (ALERTS{alertstate="firing"})',
      });
      const alert = (name: string) => ({ labels: `{alertname="${name}"}`, value: 1 });
      await promtool(scrapes, [
        { ...firing(quiet), exp_samples: [] },
        { ...firing(dark), exp_samples: [alert('PodCheckpointerDown')] },
        { ...firing(lastActive), exp_samples: [alert('ControlPlaneOnCopies')] },
        { ...firing(scrapes.count() - 1), exp_samples: [] },
      ]);
    },
    180_000,
  );

  it('is told in Events on the pods, with the times at which it happened, and in the history', async () => {
    const reasons = await node.waitFor('the Events of the power cut', async () => {
      const { items } = (await node.api().request('GET', `${NAMESPACE}/events`)) as { items: CoreV1Event[] };
      const found = new Set(items.map(({ reason }) => reason));
      return found.has('CheckpointYielded') ? found : undefined;
    });
    expect([...reasons].sort()).toEqual(['CheckpointActivated', 'CheckpointCopied', 'CheckpointProven', 'CheckpointYielded']);
    const history = await readHistory(node.layout.checkpointDir, 'kube-system/DaemonSet/kube-apiserver');
    expect(history.flatMap(({ milestones }) => milestones ?? [])).toEqual(['Copied', 'Proven', 'Activated', 'Yielded']);
    const condition = await node.waitFor('the condition of the node', async () => {
      const { status } = (await node.api().request('GET', `/api/v1/nodes/${node.name}`)) as V1Node;
      return status?.conditions?.find(({ type, status: value }) => type === CONDITION_TYPE && value === 'True');
    });
    expect(condition).toMatchObject({ reason: 'AllProven' });
  }, 60_000);

  it('shows no value of a Secret in log, metrics, Events, status, history, manifests or mirror pods', async () => {
    await plant(node);
    await node.waitFor('one pod is protected and the other refused', async () => {
      const workloads = (await readStatus(node.layout.checkpointDir))?.workloads;
      return workloads?.['kube-system/Pod/keeper']?.proven !== undefined && workloads['kube-system/Pod/refused']?.reason === 'Refused';
    });
    const { layout } = node;
    const stored = await contents(join(layout.checkpointDir, 'workloads'));
    // What is looked for is known to the daemon: it has stored it.
    expect(stored).toContain(PLANTED.file);

    const told: Record<string, string> = {
      log: log
        .lines()
        .map(({ fields }) => JSON.stringify(fields))
        .join('\n'),
      'logs of the pods': await contents(layout.podLogs, (path) => path.includes('pod-checkpointer')),
      metrics: await (await fetch(`http://127.0.0.1:${node.ports.checkpointer}/metrics`)).text(),
      health: await (await fetch(`http://127.0.0.1:${node.ports.checkpointer}/readyz?verbose`)).text(),
      events: JSON.stringify(await node.api().request('GET', '/api/v1/events')),
      node: JSON.stringify(await node.api().request('GET', `/api/v1/nodes/${node.name}`)),
      pods: JSON.stringify(await node.api().request('GET', `${NAMESPACE}/pods`)),
      manifests: await contents(layout.manifests),
      'files beside the copies': await contents(layout.checkpointDir, (path) => !path.includes('/workloads/')),
      'manifests in the store': await contents(join(layout.checkpointDir, 'workloads'), (path) => path.endsWith('.json')),
      // Its exit code is its verdict, which is not the question here.
      inspect: spawnSync(
        process.execPath,
        [join(DIST, 'checkpointer.js'), 'inspect', `--checkpoint-dir=${layout.checkpointDir}`, `--pod-manifest-path=${layout.manifests}`],
        { encoding: 'utf8' },
      ).stdout,
    };
    expect(told['log']).toContain('request to the API server');
    expect(told['metrics']).toContain('reason="Refused"');
    expect(told['events']).toContain('CheckpointRefused');
    expect(told['files beside the copies']).toContain('"milestones":["Refused"]');
    const keys = [node.pki.apiserverKey, node.pki.schedulerConf, node.pki.kubeletConf].map((file) => readFile(file, 'utf8'));
    const secrets = [...Object.values(PLANTED), ...Object.values(PLANTED).map(base64), ...(await Promise.all(keys)).flatMap(keyLines)];
    expect(secrets.length).toBeGreaterThan(8);
    for (const [where, text] of Object.entries(told)) {
      expect(text.length, where).toBeGreaterThan(0);
      for (const secret of secrets) expect(text.includes(secret), `${secret.slice(0, 12)}… in ${where}`).toBe(false);
    }
  }, 120_000);
});

/** What of a key cannot be anywhere by chance: its long lines, less those of a certificate. */
function keyLines(text: string): string[] {
  const pem = text.includes('client-key-data')
    ? Buffer.from(/client-key-data: (\S+)/.exec(text)?.[1] ?? '', 'base64').toString('utf8')
    : text;
  return pem.split('\n').filter((line) => line.length >= 60 && !line.includes(':'));
}

/** Two bare pods on the node: one with a Secret in a volume, of which a copy can be made, and one with a Secret in its environment. */
async function plant(node: EmbeddedNode): Promise<void> {
  const api = node.api();
  const metadata = (name: string) => ({ name, namespace: 'kube-system', annotations: { [CHECKPOINT]: 'true' } });
  const secret = { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'planted', namespace: 'kube-system' } };
  await api.request('POST', `${NAMESPACE}/secrets`, { ...secret, data: { file: base64(PLANTED.file), env: base64(PLANTED.env) } });
  const pod = (name: string, spec: Omit<NonNullable<V1Pod['spec']>, 'containers'>, container: object) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: metadata(name),
    spec: {
      nodeName: node.name,
      hostNetwork: true,
      ...spec,
      containers: [{ name: 'main', image: 'registry.local/sleep:1', ...container }],
    },
  });
  const volumes = [{ name: 'keys', secret: { secretName: 'planted' } }];
  await api.request('POST', `${NAMESPACE}/pods`, pod('keeper', { volumes }, { volumeMounts: [{ name: 'keys', mountPath: '/keys' }] }));
  const env = [{ name: 'KEY', valueFrom: { secretKeyRef: { name: 'planted', key: 'env' } } }];
  await api.request('POST', `${NAMESPACE}/pods`, pod('refused', {}, { env }));
}

async function promtool(scrapes: Scrapes, promql_expr_test: readonly object[]): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'alerts-'));
  try {
    const rules = await readFile(ALERTS, 'utf8');
    const file = join(directory, 'test.json');
    const input_series = scrapes.inputSeries((name) => rules.includes(name));
    const tests = [{ interval: `${INTERVAL_SECONDS}s`, input_series, promql_expr_test }];
    await writeFile(file, JSON.stringify({ rule_files: [ALERTS], evaluation_interval: `${INTERVAL_SECONDS}s`, tests }));
    execFileSync(findProgram('promtool') ?? 'promtool', ['test', 'rules', file], { encoding: 'utf8', stdio: 'pipe' });
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Every file below, one after the other. */
async function contents(directory: string, wanted: (path: string) => boolean = () => true): Promise<string> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return (await Promise.all(paths.filter(wanted).map((path) => readFile(path, 'latin1').catch(() => '')))).join('\n');
}
