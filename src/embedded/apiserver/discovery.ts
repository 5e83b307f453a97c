/** Paths that name no resource: health, version, and the lists by which clients find out what there is. */
import { apiVersionOf, RESOURCES, type Resource } from './resources.ts';

/** The answer to such a path, undefined where there is none. A text is sent as it is. */
export function pathResponse(path: string): object | string | undefined {
  if (/^\/(healthz|livez|readyz)(\/|$)/.test(path)) return 'ok';
  const trimmed = path.replace(/\/$/, '');
  switch (trimmed) {
    case '/version':
      return {
        major: '1',
        minor: '36',
        gitVersion: 'v1.36.0+embedded',
        platform: `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`,
      };
    case '/api':
      return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [] };
    case '/apis':
      return { kind: 'APIGroupList', apiVersion: 'v1', groups: groups() };
    default:
      return resourceList(/^\/apis?\/(.+)$/.exec(trimmed)?.[1] ?? '');
  }
}

function groups(): object[] {
  const named = [...new Set(RESOURCES.filter((r) => r.group !== '').map(apiVersionOf))];
  return named.map((groupVersion) => {
    const [name, version] = groupVersion.split('/');
    return { name, versions: [{ groupVersion, version }], preferredVersion: { groupVersion, version } };
  });
}

function resourceList(groupVersion: string): object | undefined {
  const resources = RESOURCES.filter((r) => apiVersionOf(r) === groupVersion);
  if (resources.length === 0) return undefined;
  return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion, resources: resources.flatMap(entries) };
}

function entries(resource: Resource): object[] {
  const { plural, kind, namespaced, shortNames } = resource;
  const verbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];
  const own = {
    name: plural,
    singularName: kind.toLowerCase(),
    namespaced,
    kind,
    verbs,
    ...(shortNames.length === 0 ? {} : { shortNames }),
  };
  const sub = resource.subresources.map((name) => ({
    name: `${plural}/${name}`,
    singularName: '',
    namespaced,
    kind,
    verbs: name === 'status' ? ['get', 'patch', 'update'] : ['create'],
  }));
  return [own, ...sub];
}
