/** Which generation a reboot gets, and what speaks against relying on it. */
import type { StoredWorkload } from '../../checkpoint/model.ts';
import { type Finding, warning } from '../finding.ts';

export function proofFindings(stored: StoredWorkload, chosen: number): Finding[] {
  const findings: Finding[] = [];
  if (stored.damaged.size > 0 || stored.damagedPointers.length > 0) {
    const what = [
      ...[...stored.damaged].map(([number, why]) => `generation ${number} (${why})`),
      ...stored.damagedPointers.map((name) => `the pointer "${name}"`),
    ];
    findings.push(
      warning(
        'Damaged',
        `damaged in the store: ${what.join(', ')}`,
        'Look for errors of the disk in the kernel log, and run checkpointer verify.',
      ),
    );
  }
  findings.push(...failingFindings(stored));
  if (!stored.generations.has(chosen)) return findings;
  if (stored.proven === undefined)
    findings.push(
      warning(
        'NotProven',
        `generation ${chosen} has never been proven: nobody has seen it run`,
        'Wait until its pod has been Ready for --prove-after; if it is, look at the leader.',
      ),
    );
  else if (stored.newest !== undefined && stored.newest !== stored.proven && differs(stored))
    findings.push(
      warning(
        'NewerNotProven',
        `generation ${stored.newest} is newer than generation ${chosen}, which a reboot would get, and not proven`,
        'Wait until its pod has been Ready for --prove-after; if it never is, undo the change.',
      ),
    );
  return findings;
}

/** A generation whose spec is marked is not what is activated, as long as there is another. */
function failingFindings({ generations, failing }: StoredWorkload): Finding[] {
  return [...generations.values()].flatMap(({ number, digest }) => {
    const mark = failing.get(digest);
    if (mark === undefined) return [];
    const message = `the spec of generation ${number} is marked failing since ${mark.since}: ${mark.detail}`;
    return [warning('FailingSpec', message, 'Change the pod, or clear the mark once its cause is gone (checkpointer forgive).')];
  });
}

/** Generations of one digest run the same; only what belongs to one pod is newer. */
function differs({ generations, newest = 0, proven = 0 }: StoredWorkload): boolean {
  return generations.get(newest)?.digest !== generations.get(proven)?.digest;
}
