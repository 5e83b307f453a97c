// How long it takes to make the copy of a pod with 20 volumes of 100 KiB, as the daemon does it after a change, without the disk.
//
//     node bench/copy.ts [--volumes=20] [--kib=100] [--runs=200]
//
// Ends with 1 when the 90th percentile of the processor time of the whole process, garbage collection included, is above the limit. By the clock on the
// wall the percentiles say what else runs on the machine: they are printed and do not count.
import { randomBytes } from 'node:crypto';
import { parseArgs } from 'node:util';
import type { V1ConfigMap, V1Pod, V1Secret } from '@kubernetes/client-node';
import { makeCopy } from '../src/checkpoint/copy.ts';
import { manifestBytes } from '../src/checkpoint/materialize.ts';
import { configMap, container, lookupIn, markedPod, secret } from '../test/support/marked-pods.ts';

const { values } = parseArgs({
  options: {
    volumes: { type: 'string', default: '20' },
    kib: { type: 'string', default: '100' },
    runs: { type: 'string', default: '200' },
  },
});
const LIMIT_MS = 20;
const WARM_UP = 20;
const volumes = Number(values.volumes);
const bytes = Number(values.kib) * 1024;

/** Half Secrets, which are base64 in the API, half ConfigMaps, which are text; each of ten keys. */
function objectOf(i: number): V1Secret | V1ConfigMap {
  const contents = Array.from({ length: 10 }, (_, key) => [`key-${key}`, randomBytes(bytes / 20).toString('hex')] as const);
  return i % 2 === 0 ? secret(Object.fromEntries(contents)) : configMap(Object.fromEntries(contents));
}

const numbers = Array.from({ length: volumes }, (_, i) => i);
const pod: V1Pod = markedPod({
  volumes: numbers.map((i) => ({
    name: `v${i}`,
    ...(i % 2 === 0 ? { secret: { secretName: `o${i}` } } : { configMap: { name: `o${i}` } }),
  })),
  containers: [container({ volumeMounts: numbers.map((i) => ({ name: `v${i}`, mountPath: `/v/${i}` })) })],
});
const lookup = lookupIn(Object.fromEntries(numbers.map((i) => [`${i % 2 === 0 ? 'Secret' : 'ConfigMap'}/o${i}`, objectOf(i)])));

const wall: number[] = [];
const processor: number[] = [];
let size = 0;
for (let run = 0; run < Number(values.runs) + WARM_UP; run++) {
  const started = performance.now();
  const used = process.cpuUsage();
  const outcome = makeCopy(pod, lookup, { secretEnv: 'refuse' });
  if (outcome.kind !== 'copy') throw new Error(`no copy: ${JSON.stringify(outcome)}`);
  manifestBytes(outcome.copy.pod);
  const { user, system } = process.cpuUsage(used);
  const ms = performance.now() - started;
  // The first copy after a start counts as well: it is printed by itself.
  if (run === 0) console.log(`first      ${ms.toFixed(1)} ms`);
  if (run >= WARM_UP) {
    wall.push(ms);
    processor.push((user + system) / 1000);
  }
  size = outcome.copy.files.reduce((sum, file) => sum + file.bytes.length, 0);
}

const at = (times: readonly number[], part: number): number =>
  times.toSorted((a, b) => a - b)[Math.min(times.length - 1, Math.floor(times.length * part))] ?? Number.NaN;
const line = (name: string, times: readonly number[]): string =>
  `${name.padEnd(11)}${[50, 90, 99, 100].map((part) => `p${part} ${at(times, part / 100).toFixed(1)} ms`).join(', ')}`;
console.log(`${volumes} volumes, ${(size / 1024).toFixed(0)} KiB, ${wall.length} runs`);
console.log(line('wall', wall));
console.log(`${line('processor', processor)}; limit ${LIMIT_MS} ms at p90`);
process.exitCode = at(processor, 0.9) <= LIMIT_MS ? 0 : 1;
