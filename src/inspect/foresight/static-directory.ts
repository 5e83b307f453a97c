/** A copy that lies in another directory than the one that the kubelet reads is never started. */
import { resolve } from 'node:path';
import type { KubeletFacts } from '../facts.ts';
import { type Finding, fatal } from '../finding.ts';

export function staticDirectoryFindings(ours: string, { staticPodPath }: KubeletFacts): Finding[] {
  if (staticPodPath === undefined) return [];
  const { path, from, isOurs } = staticPodPath;
  if (path === '')
    return [fatal('NoStaticPodPath', `the kubelet reads no static pods (${from})`, `Set staticPodPath: ${ours} there and restart it.`)];
  if (isOurs === true || resolve(path) === resolve(ours)) return [];
  const message = `the kubelet reads static pods from ${path} (${from}), and copies are put into ${ours}`;
  return [fatal('NotTheKubeletsDirectory', message, `Run the checkpointer with --pod-manifest-path=${path}.`)];
}
