/** Directories and files of the host that a copy mounts. The kubelet checks `type` before it starts a container; without one the runtime makes a directory. */
import type { V1Pod } from '@kubernetes/client-node';
import type { HostPathState } from '../facts.ts';
import { type Finding, fatal, warning } from '../finding.ts';

const NEEDS: Readonly<Record<string, HostPathState>> = {
  Directory: 'directory',
  File: 'file',
  Socket: 'socket',
  CharDevice: 'character device',
  BlockDevice: 'block device',
};

/** @param generationDir where the copy's own files lie: the store's verification answers for those. */
export function hostPathFindings(pod: V1Pod, hostPaths: ReadonlyMap<string, HostPathState>, generationDir: string): Finding[] {
  return (pod.spec?.volumes ?? []).flatMap(({ name, hostPath }): Finding[] => {
    if (hostPath === undefined || hostPath.path.startsWith(`${generationDir}/`)) return [];
    const { path, type = '' } = hostPath;
    const found = hostPaths.get(path) ?? 'unknown';
    const needed = NEEDS[type];
    if (found === 'unknown' || found === needed || type.endsWith('OrCreate')) return [];
    const where = `the host's ${path} (volume ${name})`;
    if (found !== 'missing') {
      if (needed === undefined) return [];
      return [fatal('HostPathWrong', `${where} is a ${found}: the pod wants a ${needed}`, 'Put back what was there.')];
    }
    if (needed === undefined)
      return [warning('HostPathMissing', `${where} does not exist: the pod gets an empty directory`, 'Put back what was there.')];
    return [fatal('HostPathMissing', `${where} does not exist: the kubelet starts no container without it`, 'Put back what was there.')];
  });
}

/** Paths of the host whose state the check wants to know. */
export function hostPathsOf(pod: V1Pod): string[] {
  return (pod.spec?.volumes ?? []).flatMap(({ hostPath }) => (hostPath === undefined ? [] : [hostPath.path]));
}
