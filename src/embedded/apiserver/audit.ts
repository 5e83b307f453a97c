/** The audit log: one line of JSON for each request, when its answer begins, in the shape of audit.k8s.io/v1 events as far as filled in. */
import * as fs from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { User } from './authorize.ts';
import type { ApiRequest } from './request.ts';

export interface AuditLog {
  record(incoming: IncomingMessage, user: User, request: ApiRequest, response: ServerResponse): void;
}

/** Appends to a file; '-' is standard output, an empty path is no log. */
export function openAuditLog(path: string): AuditLog {
  if (path === '') return { record: () => {} };
  const fd = path === '-' ? 1 : fs.openSync(path, 'a', 0o600);
  return {
    record(incoming, user, request, response) {
      const requestReceivedTimestamp = new Date().toISOString();
      const write = (code: number) => {
        const event = {
          kind: 'Event',
          apiVersion: 'audit.k8s.io/v1',
          requestURI: incoming.url,
          verb: request.verb,
          user: { username: user.name, groups: user.groups },
          ...(request.kind === 'resource' ? { objectRef: objectRef(request) } : {}),
          responseStatus: { code },
          requestReceivedTimestamp,
        };
        fs.writeSync(fd, `${JSON.stringify(event)}\n`);
      };
      const verb = request.verb;
      // A watch ends hours after it began: it is recorded when it is taken up.
      if (verb === 'watch') return write(200);
      response.once('close', () => write(response.headersSent ? response.statusCode : 0));
    },
  };
}

function objectRef(request: Extract<ApiRequest, { kind: 'resource' }>): object {
  const { resource, namespace, name, subresource } = request;
  const fields = { resource: resource.plural, apiGroup: resource.group, namespace, name, subresource };
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== ''));
}
