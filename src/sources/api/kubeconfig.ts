/**
 * Reads a kubeconfig file: the cluster and the user of its current context, checked, nothing of them opened yet. Read here and not with
 * `@kubernetes/client-node`, whose import costs an idle daemon 27 MiB (bundled and minified).
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { load, YAMLException } from 'js-yaml';

/** The message is one line for a person: the file, what was expected, what to do. */
export class KubeconfigError extends Error {
  override name = 'KubeconfigError';
}

/** PEM that stands in the kubeconfig itself, or in a file that may be replaced at any time (the kubelet rotates its certificate). */
export type Pem = { readonly from: 'data'; readonly pem: string } | { readonly from: 'file'; readonly path: string };

export interface ExecPlugin {
  readonly apiVersion: string;
  /** A path, or a bare name to look up in PATH. */
  readonly command: string;
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value: string }[];
  readonly provideClusterInfo: boolean;
}

export type Login =
  | { readonly kind: 'certificate'; readonly certificate: Pem; readonly key: Pem }
  | { readonly kind: 'token'; readonly token: string }
  | { readonly kind: 'tokenFile'; readonly path: string }
  | { readonly kind: 'exec'; readonly plugin: ExecPlugin };

export interface Kubeconfig {
  /** The file it was read from. */
  readonly file: string;
  readonly context: string;
  /** Always https. A path in it (an API server behind a gateway) is kept as prefix, without a trailing slash. */
  readonly server: URL;
  /** Undefined: the public authorities that Node carries. */
  readonly ca: Pem | undefined;
  /** `tls-server-name`: the name that the server's certificate must hold, where it is not the host of `server`. */
  readonly serverName: string | undefined;
  readonly login: Login;
}

/** @throws KubeconfigError for a file that cannot be read or does not say how to reach and verify an API server. */
export async function loadKubeconfig(file: string): Promise<Kubeconfig> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    throw new KubeconfigError(`${file}: the kubeconfig cannot be read: ${(error as Error).message}`);
  }
  return parseKubeconfig(text, path.resolve(file));
}

/**
 * In place of a kubeconfig that cannot be used, which a power cut may have torn: an API server that nobody reaches, until the file says another one. What
 * brings the node back needs none.
 */
export function unusableKubeconfig(file: string): Kubeconfig {
  const server = new URL('https://127.0.0.1:1');
  return { file: path.resolve(file), context: '', server, ca: undefined, serverName: undefined, login: { kind: 'token', token: 'none' } };
}

/** @param file absolute path of the file; relative paths in a kubeconfig are relative to its directory. */
export function parseKubeconfig(text: string, file: string): Kubeconfig {
  const fail = (message: string): never => {
    throw new KubeconfigError(`${file}: ${message}`);
  };
  const root = parseYaml(text, fail);
  const contextName = field(root, 'current-context') ?? fail(`no current-context: expected the name of ${choice(root, 'contexts')}`);
  const context = named(root, 'contexts', 'context', contextName, 'current-context', fail);
  const clusterName = field(context, 'cluster') ?? fail(`context "${contextName}" names no cluster`);
  const userName = field(context, 'user') ?? fail(`context "${contextName}" names no user`);
  const cluster = named(root, 'clusters', 'cluster', clusterName, `context "${contextName}"`, fail);
  const user = named(root, 'users', 'user', userName, `context "${contextName}"`, fail);
  const directory = path.dirname(file);
  return {
    file,
    context: contextName,
    server: parseServer(cluster, clusterName, fail),
    ca: pem(cluster, 'certificate-authority', directory, fail),
    serverName: field(cluster, 'tls-server-name'),
    login: parseLogin(user, userName, directory, fail),
  };
}

type Fail = (message: string) => never;
type Fields = Readonly<Record<string, unknown>>;

function parseYaml(text: string, fail: Fail): Fields {
  let root: unknown;
  try {
    root = load(text);
  } catch (error) {
    // Not the parser's full message: it quotes the lines around the error, and these may hold a key or a token.
    const where = error instanceof YAMLException && error.mark !== undefined ? ` (line ${error.mark.line + 1})` : '';
    const why = error instanceof YAMLException ? error.reason : 'it cannot be parsed';
    return fail(`not YAML: ${why}${where}`);
  }
  return isFields(root) ? root : fail('not a kubeconfig: expected a mapping with clusters, users, contexts and current-context');
}

function parseServer(cluster: Fields, name: string, fail: Fail): URL {
  if (cluster['insecure-skip-tls-verify'] === true) {
    fail(`cluster "${name}" sets insecure-skip-tls-verify: the server is always verified; remove it and give certificate-authority`);
  }
  if (field(cluster, 'proxy-url') !== undefined) fail(`cluster "${name}" sets proxy-url: proxies are not supported`);
  const server = field(cluster, 'server') ?? fail(`cluster "${name}" has no server`);
  if (!URL.canParse(server)) fail(`cluster "${name}": server "${server}" is not a URL, expected https://host:port`);
  const url = new URL(server);
  if (url.protocol !== 'https:') fail(`cluster "${name}": server "${server}" is not https, expected https://host:port`);
  return url;
}

function parseLogin(user: Fields, name: string, directory: string, fail: Fail): Login {
  for (const unsupported of ['as', 'username', 'password', 'auth-provider']) {
    if (user[unsupported] !== undefined) {
      fail(
        `user "${name}" sets ${unsupported}, which is not supported: expected a client certificate, a token, a tokenFile or an exec plugin`,
      );
    }
  }
  const certificate = pem(user, 'client-certificate', directory, fail);
  const key = pem(user, 'client-key', directory, fail);
  if (certificate !== undefined && key !== undefined) return { kind: 'certificate', certificate, key };
  if (certificate !== undefined || key !== undefined) {
    fail(`user "${name}" has only one of client-certificate and client-key, expected both`);
  }
  // As client-go has it, a tokenFile takes precedence over a token: the token is then a last value written beside it.
  const tokenFile = field(user, 'tokenFile');
  if (tokenFile !== undefined) return { kind: 'tokenFile', path: path.resolve(directory, tokenFile) };
  const token = field(user, 'token');
  if (token !== undefined) return { kind: 'token', token };
  if (isFields(user['exec'])) return { kind: 'exec', plugin: parseExec(user['exec'], name, directory, fail) };
  return fail(`user "${name}" has no credentials: expected a client certificate, a token, a tokenFile or an exec plugin`);
}

const EXEC_VERSIONS = ['client.authentication.k8s.io/v1', 'client.authentication.k8s.io/v1beta1'];

function parseExec(exec: Fields, user: string, directory: string, fail: Fail): ExecPlugin {
  const command = field(exec, 'command') ?? fail(`user "${user}": exec has no command`);
  const apiVersion = field(exec, 'apiVersion');
  if (apiVersion === undefined || !EXEC_VERSIONS.includes(apiVersion)) {
    return fail(`user "${user}": exec.apiVersion is ${apiVersion ?? 'missing'}, expected ${EXEC_VERSIONS.join(' or ')}`);
  }
  if (exec['interactiveMode'] === 'Always') fail(`user "${user}": exec.interactiveMode is Always, and a daemon has no terminal`);
  return {
    apiVersion,
    // A bare name comes from PATH, everything else is relative to the kubeconfig.
    command: command.includes('/') ? path.resolve(directory, command) : command,
    args: list(exec['args']).filter((arg) => typeof arg === 'string'),
    env: list(exec['env'])
      .filter(isFields)
      .flatMap((entry) => {
        const name = field(entry, 'name');
        return name === undefined ? [] : [{ name, value: field(entry, 'value') ?? '' }];
      }),
    provideClusterInfo: exec['provideClusterInfo'] === true,
  };
}

/** `<key>-data` (base64) takes precedence over the file named by `<key>`, as in client-go. */
function pem(fields: Fields, key: string, directory: string, fail: Fail): Pem | undefined {
  const data = field(fields, `${key}-data`);
  if (data !== undefined) {
    const decoded = Buffer.from(data, 'base64').toString('utf8');
    if (!decoded.includes('-----BEGIN ')) fail(`${key}-data is not base64 of PEM`);
    return { from: 'data', pem: decoded };
  }
  const file = field(fields, key);
  return file === undefined ? undefined : { from: 'file', path: path.resolve(directory, file) };
}

/** The entry called `name` of one of the lists `contexts`, `clusters`, `users`. */
function named(root: Fields, lists: string, key: string, name: string, by: string, fail: Fail): Fields {
  const entry = list(root[lists])
    .filter(isFields)
    .find((candidate) => candidate['name'] === name);
  if (entry === undefined) return fail(`${by} names the ${key} "${name}", which is not there: expected ${choice(root, lists)}`);
  const value = entry[key];
  return isFields(value) ? value : fail(`the ${key} "${name}" is empty`);
}

function choice(root: Fields, lists: string): string {
  const names = list(root[lists])
    .filter(isFields)
    .flatMap((entry) => field(entry, 'name') ?? []);
  return names.length === 0 ? `an entry of ${lists}, which is empty` : `one of ${names.join(', ')}`;
}

function field(fields: Fields, key: string): string | undefined {
  const value = fields[key];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
