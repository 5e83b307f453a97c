/** Where things lie in the store; see format.ts for what they are. */
import { join } from 'node:path';
import type { GenerationNumber } from '../model.ts';
import { type Workload, workloadFileName } from '../workload.ts';

export type PointerName = 'newest' | 'proven' | 'previous';

export const formatPath = (root: string) => join(root, 'format');
export const nodePath = (root: string) => join(root, 'node.json');
export const statusPath = (root: string) => join(root, 'status.json');
export const leaderPath = (root: string) => join(root, 'leader.json');
export const workloadsPath = (root: string) => join(root, 'workloads');
export const retiredPath = (root: string) => join(root, 'retired');
export const quarantinePath = (root: string) => join(root, 'quarantine');

/** Where a workload lies that was moved out of use at `ms` (milliseconds, wall clock). */
export const retiredEntry = (workload: Workload, ms: number) => `${workloadFileName(workload)}.${ms}`;
export const workloadPath = (root: string, workload: Workload) => join(workloadsPath(root), workloadFileName(workload));
export const pointerPath = (workloadDir: string, name: PointerName) => join(workloadDir, name);
export const activationsPath = (workloadDir: string) => join(workloadDir, 'activations');
export const failingPath = (workloadDir: string) => join(workloadDir, 'failing.json');
export const replacedPath = (workloadDir: string) => join(workloadDir, 'replaced');
export const generationsPath = (workloadDir: string) => join(workloadDir, 'generations');
export const prunedPath = (workloadDir: string, number: GenerationNumber) => join(generationsPath(workloadDir), `.pruned-${number}`);
/** `unique`: no two saves, of whatever process, build in one directory. */
export const buildingPath = (workloadDir: string, number: GenerationNumber, unique: string) =>
  join(generationsPath(workloadDir), `.building-${number}-${unique}`);
export const generationPath = (workloadDir: string, number: GenerationNumber) => join(generationsPath(workloadDir), String(number));
