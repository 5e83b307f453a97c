// Writes docs/decisions.md: what is decided in every world of the state space, in words.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decisionTable } from '../test/support/decision-table.ts';

await writeFile(join(import.meta.dirname, '../docs/decisions.md'), decisionTable());
