/** The HTTPS server around the handler: listening, sharing the port, ending. */
import type { ServerResponse } from 'node:http';
import * as https from 'node:https';
import { type ApiContext, handle } from './handler.ts';

export interface ServerOptions {
  readonly address: string;
  readonly port: number;
  /** SO_REUSEPORT: only servers that all ask for it share a port. */
  readonly sharePort: boolean;
  readonly certificate: Buffer;
  readonly key: Buffer;
  readonly clientCa: Buffer | undefined;
}

export interface RunningServer {
  readonly port: number;
  /** Closes the listener at once, ends open watches, lets other requests finish for `graceMs`. */
  stop(graceMs: number): Promise<void>;
}

/** Go's idle timeout for the real server's connections; Node's default of 5 s would close those of clients that wait between requests. */
const IDLE_MS = 90_000;

/** Throws the error of listen(2): EADDRINUSE where the port is taken and not shared. */
export async function startServer(context: ApiContext, options: ServerOptions): Promise<RunningServer> {
  const open = new Set<ServerResponse>();
  const server = https.createServer(
    {
      cert: options.certificate,
      key: options.key,
      requestCert: true,
      // Without a certificate, or with a bad one, the answer is 401 and not a broken handshake.
      rejectUnauthorized: false,
      keepAliveTimeout: IDLE_MS,
      requestTimeout: 0,
      ...(options.clientCa === undefined ? {} : { ca: options.clientCa }),
    },
    (request, response) => {
      open.add(response);
      response.on('close', () => open.delete(response));
      void handle(context, request, response);
    },
  );
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: options.address, port: options.port, reusePort: options.sharePort }, () => resolve());
  });
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : options.port,
    stop: async (graceMs) => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      // Open watches are left alone, as by the real server: whoever waits for one to end waits until the server is killed, or for `graceMs`.
      for (const response of open) if (!response.headersSent) response.setHeader('Connection', 'close');
      server.closeIdleConnections();
      const deadline = setTimeout(() => server.closeAllConnections(), graceMs);
      // A connection is idle only after its last answer is out.
      const sweep = setInterval(() => server.closeIdleConnections(), 20);
      await closed;
      clearTimeout(deadline);
      clearInterval(sweep);
    },
  };
}
