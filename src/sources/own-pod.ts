/**
 * Which pod this process runs in. The kubelet mounts a container's /etc/hosts and termination log from the pod's own directory, also where the pod has the
 * host's network; the directory's name is the pod's uid. Nothing else tells a DaemonSet's pod from its static copy without a difference in their specs.
 */
import { readFile } from 'node:fs/promises';

const POD_DIRECTORY = /\/pods\/([0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32})\/(?:etc-hosts|containers\/)/;

/** From a mountinfo (proc(5)): the fourth field is the root of a bind mount in its file system. */
export function podUidOf(mountinfo: string): string | undefined {
  for (const line of mountinfo.split('\n')) {
    const uid = POD_DIRECTORY.exec(line.split(' ')[3] ?? '')?.[1];
    if (uid !== undefined) return uid;
  }
  return undefined;
}

/** Undefined where that cannot be told. `onHost`: the process was started by the host's service manager. */
export async function readOwnPod(onHost: boolean, mountinfo = '/proc/self/mountinfo'): Promise<{ pod: string | undefined } | undefined> {
  if (onHost) return { pod: undefined };
  const pod = podUidOf(await readFile(mountinfo, 'utf8').catch(() => ''));
  return pod === undefined ? undefined : { pod };
}
