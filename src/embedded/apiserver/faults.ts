/**
 * Faults for stories, in `faults.json` in the data directory: a JSON array of these. The first that matches a request decides its answer.
 * Servers that share the directory share the faults; the file is looked at on each request.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { isMap } from './objects.ts';
import type { ApiRequest } from './request.ts';
import { badRequest, qualified } from './status.ts';

export type FaultKind =
  /** Answer with this HTTP status: 401, 403, 429, 500 … */
  | { readonly kind: 'status'; readonly code: number }
  /** Lists have no items, watches send nothing; other requests are not affected. */
  | { readonly kind: 'empty' }
  /** No answer at all, the connection stays open. */
  | { readonly kind: 'hang' }
  /** Watches that are open hold back everything, bookmarks too, until the fault is taken back and something happens. */
  | { readonly kind: 'silence' }
  /** The connection is closed without an answer. */
  | { readonly kind: 'reset' };

export interface Matcher {
  /** A user's name; without it everyone, also those who are nobody. */
  readonly user?: string;
  readonly verb?: string;
  /** As in errors: `pods`, `daemonsets.apps`. */
  readonly resource?: string;
  readonly name?: string;
  /** Of requests that name no resource: `/readyz`. */
  readonly path?: string;
}

export type Fault = FaultKind & Matcher;

export class Faults {
  readonly #file: string;
  #seen = '';
  #faults: readonly Fault[] = [];

  constructor(directory: string) {
    this.#file = path.join(directory, 'faults.json');
  }

  match(user: string, request: ApiRequest): Fault | undefined {
    return this.#current().find((fault) => applies(fault, user, request));
  }

  silences(user: string, request: ApiRequest): boolean {
    return this.match(user, request)?.kind === 'silence';
  }

  list(): readonly Fault[] {
    return this.#current();
  }

  /** Replaces all faults. Throws a 400 for what is not an array of faults. */
  replace(body: unknown): void {
    const faults = parseFaults(body);
    const temporary = `${this.#file}.${process.pid}`;
    fs.writeFileSync(temporary, JSON.stringify(faults));
    fs.renameSync(temporary, this.#file);
  }

  /** A file that cannot be read or parsed changes nothing: it may be half written. */
  #current(): readonly Fault[] {
    const stat = fs.statSync(this.#file, { bigint: true, throwIfNoEntry: false });
    const version = stat === undefined ? '' : `${stat.ino} ${stat.mtimeNs} ${stat.size}`;
    if (version === this.#seen) return this.#faults;
    try {
      this.#faults = version === '' ? [] : parseFaults(JSON.parse(fs.readFileSync(this.#file, 'utf8')));
      this.#seen = version;
    } catch (error) {
      console.error(`${this.#file} is not read: ${error instanceof Error ? error.message : String(error)}`);
    }
    return this.#faults;
  }
}

function parseFaults(body: unknown): readonly Fault[] {
  const kinds = ['status', 'empty', 'hang', 'silence', 'reset'];
  if (!Array.isArray(body) || !body.every((fault) => isMap(fault) && kinds.includes(String(fault['kind']))))
    throw badRequest(`faults are a JSON array of objects whose kind is one of ${kinds.join(', ')}`);
  return body as Fault[];
}

function applies(fault: Fault, user: string, request: ApiRequest): boolean {
  if (fault.user !== undefined && fault.user !== user) return false;
  if (fault.verb !== undefined && fault.verb !== request.verb) return false;
  if (request.kind === 'path')
    return fault.resource === undefined && fault.name === undefined && (fault.path ?? request.path) === request.path;
  if (fault.path !== undefined) return false;
  if (fault.name !== undefined && fault.name !== request.name) return false;
  return fault.resource === undefined || fault.resource === qualified(request.resource);
}
