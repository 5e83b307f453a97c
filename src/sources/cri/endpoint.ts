/** Where a container runtime listens, as a flag names it. By itself, because who only checks the flag needs none of gRPC. */

/** sockaddr_un.sun_path on Linux is 108 bytes with the terminating zero. */
const MAX_SOCKET_PATH_BYTES = 107;

export interface Endpoint {
  /** Absolute path of the unix socket. */
  readonly path: string;
}

/** Reads `unix:///run/containerd/containerd.sock`, or the bare absolute path. Throws an Error of one line on anything else. */
export function parseEndpoint(text: string): Endpoint {
  const path = text.startsWith('unix://') ? text.slice('unix://'.length) : text;
  const wrong = (what: string): Error =>
    new Error(
      `container runtime endpoint ${JSON.stringify(text)} ${what}: expected a unix socket, as in unix:///run/containerd/containerd.sock`,
    );
  if (text === '') throw wrong('is empty');
  if (path === '' || path === '/') throw wrong('has no path');
  if (/^[a-z]+:/i.test(path)) throw wrong('is not a unix socket');
  if (!path.startsWith('/')) throw wrong('is not an absolute path');
  if (/[\n\r\0]/.test(path)) throw wrong('has a line break in its path');
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH_BYTES)
    throw wrong(`is longer than the ${MAX_SOCKET_PATH_BYTES} bytes that a unix socket allows`);
  return { path };
}
