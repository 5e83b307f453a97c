/** What is delivered for Prometheus and Grafana fits what the daemon serves, and the documents name all of it. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { load } from 'js-yaml';
import { describe, expect, onTestFinished, test } from 'vitest';
import { createMetrics } from '../../src/platform/metrics.ts';
import { findProgram, missingPackages } from '../support/packages.ts';
import { skipLoudly } from '../support/skip.ts';

const ROOT = join(import.meta.dirname, '../..');
const MONITORING = join(ROOT, 'manifests/monitoring');
const ALERTS = join(MONITORING, 'alerts.yaml');

interface Rules {
  readonly groups: readonly {
    readonly rules: readonly { readonly alert: string; readonly expr: string; readonly annotations: Readonly<Record<string, string>> }[];
  }[];
}
interface Panel {
  readonly title: string;
  readonly targets: readonly { readonly expr: string }[];
}

const rules = (load(readFileSync(ALERTS, 'utf8')) as Rules).groups.flatMap((group) => group.rules);
const dashboard = JSON.parse(readFileSync(join(MONITORING, 'dashboard.json'), 'utf8')) as { readonly panels: readonly Panel[] };
const document = readFileSync(join(ROOT, 'docs/metrics.md'), 'utf8');

/** Names as Prometheus has them: a histogram is three series. */
async function served(): Promise<Set<string>> {
  const metrics = await createMetrics().registry.getMetricsAsJSON();
  return new Set(metrics.flatMap(({ name }) => [name, `${name}_bucket`, `${name}_sum`, `${name}_count`]));
}

const named = (expr: string): string[] => expr.match(/\b(pod_checkpointer|process)_[a-z_]+/g) ?? [];

test('every series that an alert or a panel asks for is served', async () => {
  const names = await served();
  const asked = [...rules.map(({ expr }) => expr), ...dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))];
  expect(asked.flatMap(named).filter((name) => !names.has(name))).toEqual([]);
});

test('every metric is explained, and every alert leads to its entry in the runbook', async () => {
  const metrics = await createMetrics().registry.getMetricsAsJSON();
  for (const { name } of metrics) expect(document).toContain(name);
  for (const { alert, annotations } of rules) expect(annotations['runbook']).toBe(`docs/runbook.md#${alert.toLowerCase()}`);
});

test('every metric has a unit or counts, as Prometheus names them', async () => {
  for (const { name, type } of await createMetrics().registry.getMetricsAsJSON()) {
    if (String(type) === 'counter') expect(name).toMatch(/_total$/);
    if (String(type) === 'histogram') expect(name).toMatch(/_seconds$/);
  }
});

const missing = missingPackages(['prometheus']);
const reason = missing.length === 0 ? undefined : 'no promtool: apt-get install prometheus';

describe.skipIf(skipLoudly('the alert rules', reason))('promtool', () => {
  const promtool = (...args: string[]) => execFileSync(findProgram('promtool') ?? 'promtool', args, { encoding: 'utf8', stdio: 'pipe' });

  test('takes the alert rules, and each of them fires when it should and not before', () => {
    expect(promtool('check', 'rules', ALERTS)).toContain(`${rules.length} rules found`);
    expect(promtool('test', 'rules', join(MONITORING, 'alerts.test.yaml'))).toContain('SUCCESS');
    const tested = readFileSync(join(MONITORING, 'alerts.test.yaml'), 'utf8');
    for (const { alert } of rules) expect(tested).toContain(`alertname="${alert}",alertstate="firing"`);
  });

  test('takes the expressions of the dashboard', () => {
    const directory = mkdtempSync(join(tmpdir(), 'dashboard-'));
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
    const file = join(directory, 'rules.json');
    const expressions = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr.replaceAll('$__rate_interval', '5m')));
    // JSON is YAML.
    const rules = expressions.map((expr, i) => ({ record: `panel:${i}`, expr }));
    writeFileSync(file, JSON.stringify({ groups: [{ name: 'panels', rules }] }));
    expect(promtool('check', 'rules', file)).toContain(`${rules.length} rules found`);
  });
});
