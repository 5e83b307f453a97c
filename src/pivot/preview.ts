/** What a pivot would do, shown and not done. Pure. Values of Secrets are never shown. */
import type { V1Secret } from '@kubernetes/client-node';
import { dump } from 'js-yaml';
import { isReady, pivotChecks } from './checks.ts';
import { describeDifference } from './differences.ts';
import type { Gathered } from './gather.ts';
import { describeMove, STEPS } from './steps.ts';

export function preview(gathered: Gathered, as: 'table' | 'yaml' | 'diff'): { readonly text: string; readonly ready: boolean } {
  const checks = pivotChecks(gathered.facts);
  const failed = checks.filter(({ state }) => state === 'fail').map(({ check, seen, advice }) => `${check}: ${seen}\n  ${advice ?? ''}\n`);
  const trouble =
    failed.length === 0
      ? ''
      : `${as === 'yaml' ? '# ' : ''}${failed
          .join('')
          .trimEnd()
          .replaceAll('\n', as === 'yaml' ? '\n# ' : '\n')}\n`;
  return { ready: isReady(checks), text: `${trouble}${bodyOf(gathered, as)}` };
}

function bodyOf(gathered: Gathered, as: 'table' | 'yaml' | 'diff'): string {
  switch (as) {
    case 'yaml':
      return [...gathered.wanted.values()]
        .flatMap(({ secrets, daemonSet }) => [...secrets.map(redacted), daemonSet])
        .map((object) => `---\n${dump(object, { noRefs: true })}`)
        .join('');
    case 'table':
      return `${STEPS.map((step, index) => `${String(index + 1).padStart(2)}. ${describeMove({ step, index, direction: 'there' })}`).join('\n')}\n`;
    case 'diff':
      return [...gathered.wanted.keys()].map((component) => differenceOf(component, gathered)).join('');
  }
}

function differenceOf(component: string, { facts, wanted }: Gathered): string {
  const found = [...facts.differences].find(([name]) => name === component)?.[1];
  const made = [...wanted].find(([name]) => name === component)?.[1];
  if (found === undefined)
    return `DaemonSet ${component}: is not there, would be made\n${(made?.secrets ?? []).map(({ metadata }) => `Secret ${metadata?.name}: would be made\n`).join('')}`;
  if (found.length === 0) return `DaemonSet ${component}: is there and the same\n`;
  return `DaemonSet ${component}: is there and differs\n${found.map((one) => `  ${describeDifference(one)}\n`).join('')}`;
}

function redacted({ data, ...secret }: V1Secret): object {
  const sizes = Object.entries(data ?? {}).map(([key, value]) => [key, `(${Buffer.from(value, 'base64').length} bytes)`]);
  return { ...secret, data: Object.fromEntries(sizes) };
}
