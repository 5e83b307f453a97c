/**
 * Asks an API server whether it is ready and, on the same connection, for an object, each time on a new connection, and prints each change with its time as
 * one JSON line: `node probe.ts <URL> <directory with ca.crt, admin.crt and admin.key>`. Runs in the network namespace of the node. An API server that
 * starts beside another one answers requests for a while before it calls itself ready.
 */
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Change } from './outages.ts';

const EVERY_MS = 50;
const TIMEOUT_MS = 1000;
const [url = '', pki = ''] = process.argv.slice(2);
const identity = {
  ca: readFileSync(join(pki, 'ca.crt')),
  cert: readFileSync(join(pki, 'admin.crt')),
  key: readFileSync(join(pki, 'admin.key')),
};

/** Undefined: 200. Else what was found instead. */
function whyNot(path: string, agent: Agent): Promise<string | undefined> {
  return new Promise((resolve) => {
    const asked = request(new URL(path, url), { ...identity, agent, timeout: TIMEOUT_MS }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
      });
      response.once('end', () => resolve(response.statusCode === 200 ? undefined : `${response.statusCode} ${failedChecks(body)}`.trim()));
      response.once('error', (error) => resolve(error.message));
    });
    asked.once('timeout', () => asked.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
    asked.once('error', (error) => resolve(error.message));
    asked.end();
  });
}

/** Of what /readyz says: `[-]shutdown failed: reason withheld`. */
const failedChecks = (body: string): string => [...body.matchAll(/^\[-\](\S+)/gm)].map(([, check]) => check).join(' ');

let before: Omit<Change, 'at'> | undefined;

async function look(): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const notReady = await whyNot('/readyz', agent);
  const unanswered = await whyNot('/api/v1/namespaces/kube-system', agent);
  agent.destroy();
  const why = notReady ?? unanswered;
  const now = { up: notReady === undefined, answers: unanswered === undefined, ...(why !== undefined && { why }) };
  // An outage begins when an answer is missing and ends when there is one again.
  if (now.up !== before?.up || now.answers !== before.answers) process.stdout.write(`${JSON.stringify({ at: Date.now(), ...now })}\n`);
  before = now;
}

// Each by itself: where two share a port, a connection to the one that starts waits until that accepts it, and the others see what is there meanwhile.
for (let next = performance.now(); ; next += EVERY_MS) {
  void look();
  await sleep(Math.max(0, next + EVERY_MS - performance.now()));
}
