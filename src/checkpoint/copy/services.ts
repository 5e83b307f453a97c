/**
 * Variables of Services. The kubelet tells a static pod nothing of Services before it has seen the API server. So the address of the API server is written
 * down; what else a container takes from such variables cannot be had.
 */
import type { V1Container, V1EnvVar } from '@kubernetes/client-node';
import { KUBERNETES_SERVICE } from '../references.ts';
import { change, lookUp, type Rendering, refuse, waitFor } from './rendering.ts';

const HOST = 'KUBERNETES_SERVICE_HOST';
const PORT = 'KUBERNETES_SERVICE_PORT';
/**
 * KUBERNETES_SERVICE_HOST and PORT where the container does not set them itself: it would have had both, whatever its network and `enableServiceLinks`. The
 * Service is made by every API server, so one that is absent is waited for; where it may not be read there is no copy, because nobody can tell which container
 * takes its address from there.
 */
export function serviceVariables(r: Rendering, container: V1Container, variables: readonly V1EnvVar[], field: string): V1EnvVar[] {
  const set = new Set(variables.map(({ name }) => name));
  refuseOtherServices(r, container, set, field);
  if ((set.has(HOST) && set.has(PORT)) || r.policy.kubernetesService === 'untold') return [];
  const service = kubernetesService(r, field);
  if (service === undefined) return [];
  const wanted: V1EnvVar[] = [
    { name: HOST, value: service.host },
    { name: PORT, value: String(service.port) },
  ];
  const added = wanted.filter(({ name }) => !set.has(name));
  for (const { name } of added)
    change(r, `${field}.env`, `${name} added: the kubelet tells a static pod nothing before it has seen the API server`);
  return added;
}

/** What the node was told, else what the cluster says. */
function kubernetesService(r: Rendering, field: string): { readonly host: string; readonly port: number } | undefined {
  if (typeof r.policy.kubernetesService === 'object') return r.policy.kubernetesService;
  const found = lookUp(r, KUBERNETES_SERVICE);
  if (found.state === 'denied') {
    const needed = "Set --kubernetes-service, or grant the checkpointer's identity list and watch on services in namespace default.";
    const why = `${HOST} is not known: the Service default/kubernetes may not be read (${found.detail}).`;
    refuse(r, 'KubernetesServiceForbidden', `${field}.env`, `${why} ${needed}`);
    return undefined;
  }
  const { clusterIP = '', ports = [] } = found.state === 'present' ? (found.object.spec ?? {}) : {};
  const port = (ports.find(({ name }) => name === 'https') ?? ports[0])?.port;
  if (clusterIP !== '' && clusterIP !== 'None' && port !== undefined) return { host: clusterIP, port };
  const noAddress = found.state === 'present' ? ' (it has no address; --kubernetes-service says where else)' : '';
  waitFor(r, KUBERNETES_SERVICE, found.state === 'absent' ? ' (or --kubernetes-service)' : noAddress);
  return undefined;
}

const REFERENCE =
  /\$\$|\$\(([A-Z][A-Z0-9_]*_(?:SERVICE_(?:HOST|PORT(?:_[A-Z0-9_]+)?)|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?))\)/g;

/** `$(NAME)` with the name of a Service's variable that the container does not set: it would stand there unexpanded. */
function refuseOtherServices(r: Rendering, container: V1Container, set: ReadonlySet<string>, field: string): void {
  const links = r.parent.spec?.enableServiceLinks !== false;
  for (const { text, where } of textsOf(container, field)) {
    for (const [, name] of text.matchAll(REFERENCE)) {
      if (name === undefined || set.has(name) || name === HOST || name === PORT) continue;
      // Without links a container is told of the Service kubernetes alone.
      if (!links && !name.startsWith('KUBERNETES_')) continue;
      const why = `$(${name}) is the variable of a Service, which the kubelet does not tell a static pod before it has seen the API server.`;
      refuse(r, 'ServiceVariable', where, `${why} Set the variable in env.`);
    }
  }
}

interface Text {
  readonly text: string;
  readonly where: string;
}

/** What the kubelet expands variables in. */
function textsOf({ command = [], args = [], env = [], volumeMounts = [] }: V1Container, field: string): Text[] {
  const listed = (name: string, list: readonly (string | undefined)[], member = '') =>
    list.map((text, i) => ({ text: text ?? '', where: `${field}.${name}[${i}]${member}` }));
  return [
    ...listed('command', command),
    ...listed('args', args),
    ...listed(
      'env',
      env.map(({ value }) => value),
      '.value',
    ),
    ...listed(
      'volumeMounts',
      volumeMounts.map(({ subPathExpr }) => subPathExpr),
      '.subPathExpr',
    ),
  ];
}
