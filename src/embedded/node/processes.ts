/**
 * Processes of an embedded node. All of them carry the node's id in their environment, and their children inherit it, so that a power cut finds
 * every one, also those whose parent is gone and those that nobody wrote down.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** Environment variable that says to which embedded node a process belongs. */
export const NODE_MARK = 'EMBEDDED_NODE';

/** A process as more than a pid, which the kernel gives to others later: `startTime` is field 22 of /proc/<pid>/stat, in clock ticks since boot. */
export interface ProcessRef {
  readonly pid: number;
  readonly startTime: string;
}

interface ProcessStat {
  readonly state: string;
  readonly startTime: string;
}

function readStat(pid: number): ProcessStat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The command name, in parentheses, may hold blanks and parentheses itself: fields are counted behind the last one.
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    const [state, startTime] = [fields[0], fields[19]];
    return state === undefined || startTime === undefined ? undefined : { state, startTime };
  } catch {
    return undefined;
  }
}

export function refOf(pid: number): ProcessRef | undefined {
  const stat = readStat(pid);
  return stat === undefined ? undefined : { pid, startTime: stat.startTime };
}

/** A zombie counts as dead: it holds no port and runs nothing. */
export function isAlive(ref: ProcessRef): boolean {
  const stat = readStat(ref.pid);
  return stat !== undefined && stat.startTime === ref.startTime && stat.state !== 'Z' && stat.state !== 'X';
}

/** Sends a signal to a process, or with a negative pid to its group; one that is gone is no error. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}

/** Pids of the processes that carry this node's mark, except this one. */
export function processesOf(nodeId: string): number[] {
  const mark = `${NODE_MARK}=${nodeId}`;
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid && environment(pid).includes(mark));
}

function environment(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

/**
 * Power cut: SIGKILL to every process of the node, without a goodbye, again until none is left (one may have been started meanwhile).
 * @throws after 5 s, naming the pids that would not die.
 */
export async function cutPower(nodeId: string): Promise<void> {
  const deadline = Date.now() + 5_000;
  for (let pids = processesOf(nodeId); pids.length > 0; pids = processesOf(nodeId)) {
    if (Date.now() > deadline) throw new Error(`embedded node ${nodeId}: still running 5 s after the power cut: ${pids.join(', ')}`);
    for (const pid of pids) signal(pid, 'SIGKILL');
    await sleep(2);
  }
}

/** The same at once, for a process that is itself about to end: one round, no waiting. */
export function cutPowerNow(nodeId: string): void {
  for (const pid of processesOf(nodeId)) signal(pid, 'SIGKILL');
}

/**
 * Standard input as the power line: whoever started the node holds the other end, and when that closes, also by the starter's death, the power is
 * gone. Both the container runtime and the kubelet watch it; either one takes the whole node down.
 */
export function followPowerLine(nodeId: string | undefined): void {
  if (nodeId === undefined) return;
  const off = (): void => {
    cutPowerNow(nodeId);
    process.kill(process.pid, 'SIGKILL');
  };
  process.stdin.on('end', off);
  process.stdin.on('error', off);
  process.stdin.resume();
}
