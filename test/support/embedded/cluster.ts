/** An embedded API server as a child process with certificates and data in a directory of its own. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs/promises';
import * as os from 'node:os';
import * as path from 'node:path';
import { type ApiClient, createClient } from '../../../src/embedded/controllers/client.ts';
import { readKubeconfig } from '../../../src/embedded/controllers/kubeconfig.ts';
import { type ClusterPki, createClientCertificate, kubeconfigFor, writeClusterPki } from '../../../src/embedded/pki.ts';

const ENTRY = path.join(import.meta.dirname, 'program.ts');

export interface RunningProgram {
  readonly process: ChildProcess;
  /** Standard error so far. */
  stderr(): string;
  /** Resolves with the first match on standard error; throws when the program ends without one. */
  says(pattern: RegExp): Promise<RegExpMatchArray>;
  /** Sends the signal and waits for the end. The exit code, or the signal that ended it. */
  end(signal?: NodeJS.Signals): Promise<number | string>;
  /** The exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>;
}

export function startProgram(name: string, flags: readonly string[]): RunningProgram {
  const child = spawn(process.execPath, [ENTRY, name, ...flags], { stdio: ['ignore', 'inherit', 'pipe'] });
  let text = '';
  const waiting = new Set<() => void>();
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    for (const look of waiting) look();
  });
  const ended = once(child, 'close').then(([code, signal]) => (code ?? signal) as number | string);
  return {
    process: child,
    stderr: () => text,
    says: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const match = text.match(pattern);
          if (match === null) return;
          waiting.delete(look);
          resolve(match);
        };
        waiting.add(look);
        look();
        void ended.then((how) => reject(new Error(`${name} ended (${how}) without saying ${pattern}: ${text}`)));
      }),
    end: (signal = 'SIGTERM') => {
      child.kill(signal);
      return ended;
    },
    ended,
  };
}

export interface TestCluster {
  readonly directory: string;
  readonly dataDirectory: string;
  readonly pki: ClusterPki;
  readonly port: number;
  readonly admin: ApiClient;
  /** Command line of the API server, for a further one on the same data and port. */
  flags(extra?: readonly string[]): string[];
  /** The API server that runs now. */
  server: RunningProgram;
  /** Starts another one in the place of the one that ended. */
  restart(extra?: readonly string[]): Promise<void>;
  as(user: string, groups: readonly string[]): Promise<ApiClient>;
  start(name: string, flags: readonly string[]): RunningProgram;
  stop(): Promise<void>;
}

/** Starts the API server with these further flags. The node's name is n1. */
export async function startCluster(extra: readonly string[] = []): Promise<TestCluster> {
  const directory = await fs.mkdtemp(path.join(os.tmpdir(), 'embedded-'));
  const dataDirectory = path.join(directory, 'etcd');
  const first = await writeClusterPki(directory, { server: 'https://127.0.0.1:1', names: ['localhost', '127.0.0.1'], nodeName: 'n1' });
  const flagsAt = (port: number, more: readonly string[]) => [
    `--secure-port=${port}`,
    '--bind-address=127.0.0.1',
    `--client-ca-file=${first.caCert}`,
    `--tls-cert-file=${first.apiserverCert}`,
    `--tls-private-key-file=${first.apiserverKey}`,
    `--etcd-servers=file://${dataDirectory}`,
    ...more,
  ];
  const running: RunningProgram[] = [];
  const start = (name: string, flags: readonly string[]) => {
    const program = startProgram(name, flags);
    running.push(program);
    return program;
  };
  const server = start('kube-apiserver', flagsAt(0, extra));
  const [, port = ''] = await server.says(/Serving securely on 127\.0\.0\.1:(\d+)/);
  // The port is known only now: every kubeconfig gets it.
  for (const conf of [first.adminConf, first.kubeletConf, first.controllerManagerConf, first.schedulerConf])
    await fs.writeFile(conf, (await fs.readFile(conf, 'utf8')).replace('https://127.0.0.1:1\n', `https://127.0.0.1:${port}\n`));
  const clients: ApiClient[] = [];
  const clientOf = (conf: string) => {
    const client = createClient(readKubeconfig(conf));
    clients.push(client);
    return client;
  };
  const cluster: TestCluster = {
    directory,
    dataDirectory,
    pki: first,
    port: Number(port),
    admin: clientOf(first.adminConf),
    server,
    flags: (more = []) => flagsAt(Number(port), more),
    restart: async (more = extra) => {
      cluster.server = start('kube-apiserver', flagsAt(Number(port), more));
      await cluster.server.says(/Serving securely/);
    },
    as: async (user, groups) => {
      const conf = path.join(directory, `${user.replaceAll(/[^a-z0-9]/g, '-')}.conf`);
      const client = await createClientCertificate(first.authority, user, groups);
      await fs.writeFile(conf, kubeconfigFor(`https://127.0.0.1:${port}`, first.authority.certificate, user, client));
      return clientOf(conf);
    },
    start,
    stop: async () => {
      for (const client of clients) client.close();
      for (const program of running) program.process.kill('SIGKILL');
      await Promise.all(running.map((program) => program.ended));
      await fs.rm(directory, { recursive: true, force: true });
    },
  };
  return cluster;
}
