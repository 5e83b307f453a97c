/**
 * Asks an API server whether it is ready, each time on a new connection, and prints each change with its time as one JSON line:
 * `node probe.ts <URL> <directory with ca.crt, admin.crt and admin.key>`. Runs in the network namespace of the node.
 */
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const EVERY_MS = 50;
const TIMEOUT_MS = 1000;
const [url = '', pki = ''] = process.argv.slice(2);
const identity = {
  ca: readFileSync(join(pki, 'ca.crt')),
  cert: readFileSync(join(pki, 'admin.crt')),
  key: readFileSync(join(pki, 'admin.key')),
};

/** Undefined: it is. Else what was found instead. */
function whyNotReady(): Promise<string | undefined> {
  return new Promise((resolve) => {
    const asked = request(url, { ...identity, agent: false, timeout: TIMEOUT_MS }, (response) => {
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

let before: boolean | undefined;
for (;;) {
  const why = await whyNotReady();
  const up = why === undefined;
  // An outage begins when an answer is missing and ends when there is one again.
  if (up !== before) process.stdout.write(`${JSON.stringify({ at: Date.now(), up, why })}\n`);
  before = up;
  await sleep(EVERY_MS);
}
