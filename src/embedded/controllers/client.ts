/** The controllers' own client of the API: requests and watches over HTTPS, nothing cached. */
import type { IncomingMessage } from 'node:http';
import * as https from 'node:https';
import { createInterface } from 'node:readline';
import { isMap, type KubeObject } from '../apiserver/objects.ts';
import type { Connection } from './kubeconfig.ts';

/** An answer other than 2xx. Everything else that a request throws means that there was no answer. */
export class AnswerError extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.name = 'AnswerError';
    this.code = code;
  }
}

export interface WatchEvent {
  readonly type: string;
  readonly object: KubeObject;
}

export interface RequestOptions {
  readonly contentType?: string;
  readonly signal?: AbortSignal;
}

export interface ApiClient {
  /** Throws an AnswerError, or whatever kept the answer away (refused, reset, 10 s without one). */
  request(method: string, path: string, body?: unknown, options?: RequestOptions): Promise<unknown>;
  /** Calls for each event, in order; resolves when the server ends the watch. Throws as `request` does. */
  watch(path: string, onEvent: (event: WatchEvent) => void, signal: AbortSignal): Promise<void>;
  close(): void;
}

const ANSWER_MS = 10_000;

export function createClient(connection: Connection): ApiClient {
  const { ca, certificate, key, token, server } = connection;
  const agent = new https.Agent({
    keepAlive: true,
    ...(ca === undefined ? {} : { ca }),
    ...(certificate === undefined ? {} : { cert: certificate }),
    ...(key === undefined ? {} : { key }),
  });
  const begin = (method: string, path: string, body: unknown, options: RequestOptions) =>
    new Promise<IncomingMessage>((resolve, reject) => {
      const text = body === undefined ? undefined : JSON.stringify(body);
      const headers = {
        Accept: 'application/json',
        ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
        ...(text === undefined
          ? {}
          : { 'Content-Type': options.contentType ?? 'application/json', 'Content-Length': Buffer.byteLength(text) }),
      };
      const { signal } = options;
      const request = https.request(new URL(path, server), { method, agent, headers, ...(signal === undefined ? {} : { signal }) });
      const deadline = setTimeout(() => request.destroy(new Error(`${method} ${path}: no answer within ${ANSWER_MS} ms`)), ANSWER_MS);
      request.on('error', reject);
      request.on('close', () => clearTimeout(deadline));
      request.on('response', (response) => {
        clearTimeout(deadline);
        resolve(response);
      });
      request.end(text);
    });
  return {
    async request(method, path, body, options = {}) {
      const response = await begin(method, path, body, options);
      return answer(method, path, response.statusCode ?? 0, await textOf(response));
    },
    async watch(path, onEvent, signal) {
      const response = await begin('GET', path, undefined, { signal });
      if (response.statusCode !== 200) answer('GET', path, response.statusCode ?? 0, await textOf(response));
      for await (const line of createInterface({ input: response, crlfDelay: Number.POSITIVE_INFINITY })) {
        if (line !== '') onEvent(JSON.parse(line) as WatchEvent);
      }
      if (!response.complete) throw new Error(`GET ${path}: the connection ended within the watch`);
    },
    close: () => agent.destroy(),
  };
}

async function textOf(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}

function answer(method: string, path: string, code: number, text: string): unknown {
  const body = parseJson(text);
  if (code >= 200 && code < 300) return body;
  const message = isMap(body) && typeof body['message'] === 'string' ? body['message'] : text.trim();
  throw new AnswerError(code, `${method} ${path}: ${code}: ${message}`);
}

/** The text itself where it is not JSON: health answers are plain. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
