/**
 * What the API server would not have taken: members of a pod, or of an object that it names, that are of another type. A person writes such files; the rest of
 * the program reads what an API server returned, and does not check it again. Only members that a copy is made from are looked at.
 */

/** Named by what an error calls it. */
export type Shape =
  | 'text'
  | 'number'
  | 'true or false'
  | 'number or text'
  | 'anything'
  | { readonly list: Shape }
  /** Every value of a map. */
  | { readonly each: Shape }
  | { readonly members: Readonly<Record<string, Shape>> };

const list = (of: Shape): Shape => ({ list: of });
const members = (of: Readonly<Record<string, Shape>>): Shape => ({ members: of });
const TEXTS: Shape = { each: 'text' };
const QUANTITIES: Shape = { each: 'number or text' };
const OBJECT = members({});

const METADATA = members({
  name: 'text',
  namespace: 'text',
  uid: 'text',
  labels: TEXTS,
  annotations: TEXTS,
  ownerReferences: list(members({ apiVersion: 'text', kind: 'text', name: 'text', uid: 'text', controller: 'true or false' })),
});
const ITEMS = list(members({ key: 'text', path: 'text', mode: 'number' }));
const FIELDS = list(
  members({
    path: 'text',
    mode: 'number',
    fieldRef: members({ fieldPath: 'text' }),
    resourceFieldRef: members({ containerName: 'text', resource: 'text' }),
  }),
);
const KEY = members({ name: 'text', key: 'text', optional: 'true or false' });
const NAMED = members({ name: 'text', items: ITEMS, optional: 'true or false' });
const VOLUME = members({
  name: 'text',
  secret: members({ secretName: 'text', items: ITEMS, optional: 'true or false', defaultMode: 'number' }),
  configMap: members({ name: 'text', items: ITEMS, optional: 'true or false', defaultMode: 'number' }),
  downwardAPI: members({ items: FIELDS, defaultMode: 'number' }),
  projected: members({
    defaultMode: 'number',
    sources: list(
      members({
        secret: NAMED,
        configMap: NAMED,
        downwardAPI: members({ items: FIELDS }),
        serviceAccountToken: members({ path: 'text', audience: 'text', expirationSeconds: 'number' }),
        clusterTrustBundle: members({ path: 'text', name: 'text', signerName: 'text', optional: 'true or false' }),
      }),
    ),
  }),
  hostPath: members({ path: 'text', type: 'text' }),
  persistentVolumeClaim: members({ claimName: 'text', readOnly: 'true or false' }),
});
const SECURITY = members({ runAsUser: 'number', fsGroup: 'number', privileged: 'true or false', seLinuxOptions: { each: 'text' } });
const HANDLER = members({ httpGet: OBJECT, tcpSocket: OBJECT, grpc: OBJECT, exec: OBJECT });
const CONTAINER = members({
  name: 'text',
  image: 'text',
  command: list('text'),
  args: list('text'),
  env: list(
    members({
      name: 'text',
      value: 'text',
      valueFrom: members({ configMapKeyRef: KEY, secretKeyRef: KEY, fieldRef: members({ fieldPath: 'text' }), resourceFieldRef: OBJECT }),
    }),
  ),
  envFrom: list(members({ prefix: 'text', configMapRef: NAMED, secretRef: NAMED })),
  ports: list(members({ name: 'text', containerPort: 'number', hostPort: 'number', protocol: 'text', hostIP: 'text' })),
  resources: members({ limits: QUANTITIES, requests: QUANTITIES, claims: list(OBJECT) }),
  restartPolicy: 'text',
  volumeMounts: list(members({ name: 'text', mountPath: 'text', subPath: 'text', subPathExpr: 'text', readOnly: 'true or false' })),
  securityContext: SECURITY,
  livenessProbe: HANDLER,
  readinessProbe: HANDLER,
  startupProbe: HANDLER,
  lifecycle: members({ postStart: HANDLER, preStop: HANDLER }),
});
const POD = members({
  metadata: METADATA,
  spec: members({
    containers: list(CONTAINER),
    initContainers: list(CONTAINER),
    ephemeralContainers: list(OBJECT),
    volumes: list(VOLUME),
    imagePullSecrets: list(OBJECT),
    resourceClaims: list(OBJECT),
    tolerations: list(OBJECT),
    securityContext: SECURITY,
    nodeName: 'text',
    hostname: 'text',
    serviceAccountName: 'text',
    runtimeClassName: 'text',
    restartPolicy: 'text',
    hostNetwork: 'true or false',
    enableServiceLinks: 'true or false',
  }),
  status: members({ hostIP: 'text', podIP: 'text', hostIPs: list(OBJECT), podIPs: list(OBJECT) }),
});
const SHAPES: Readonly<Record<string, Shape>> = {
  Pod: POD,
  Secret: members({ metadata: METADATA, data: TEXTS, stringData: TEXTS }),
  ConfigMap: members({ metadata: METADATA, data: TEXTS, binaryData: TEXTS }),
  PersistentVolumeClaim: members({ metadata: METADATA, spec: members({ volumeName: 'text' }) }),
  PersistentVolume: members({
    metadata: METADATA,
    spec: members({
      local: members({ path: 'text', fsType: 'text' }),
      hostPath: members({ path: 'text', type: 'text' }),
      mountOptions: list('text'),
      volumeMode: 'text',
    }),
  }),
  Service: members({ metadata: METADATA, spec: members({ clusterIP: 'text', ports: list(members({ name: 'text', port: 'number' })) }) }),
  Node: members({ metadata: METADATA, status: members({ allocatable: QUANTITIES }) }),
  ClusterTrustBundle: members({ metadata: METADATA, spec: members({ signerName: 'text', trustBundle: 'text' }) }),
};

/** Objects of other kinds are not used, and may be anything. */
export function shapeOf(kind: string | undefined): Shape {
  return (kind !== undefined && Object.hasOwn(SHAPES, kind) ? SHAPES[kind] : undefined) ?? members({ metadata: METADATA });
}

/** Where a value differs from its shape, each with the field and what stands there. Never a value: it may be a Secret's. */
export function* differences(value: unknown, shape: Shape, field: string): Generator<string> {
  if (value === undefined || shape === 'anything') return;
  if (typeof shape === 'string') {
    if (!shape.split(' or ').some((kind) => is(value, kind))) {
      const quote = shape.includes('text') && (typeof value === 'number' || typeof value === 'boolean') ? '; put it in quotes' : '';
      yield `${field}: expected ${shape}, found ${called(value)}${quote}`;
    }
  } else if ('list' in shape) {
    if (Array.isArray(value)) for (const [i, entry] of value.entries()) yield* differences(entry ?? null, shape.list, `${field}[${i}]`);
    else yield `${field}: expected a list, found ${called(value)}`;
  } else if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    yield `${field}: expected an object, found ${called(value)}`;
  } else if ('each' in shape) {
    for (const [key, member] of Object.entries(value)) yield* differences(member, shape.each, `${field}[${JSON.stringify(key)}]`);
  } else {
    for (const [key, of] of Object.entries(shape.members))
      yield* differences(Object.hasOwn(value, key) ? Reflect.get(value, key) : undefined, of, field === '' ? key : `${field}.${key}`);
  }
}

function is(value: unknown, kind: string): boolean {
  switch (kind) {
    case 'text':
      return typeof value === 'string';
    case 'number':
      return typeof value === 'number';
    default:
      return typeof value === 'boolean';
  }
}

function called(value: unknown): string {
  if (value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  switch (typeof value) {
    case 'string':
      return 'text';
    case 'number':
      return 'a number';
    case 'boolean':
      return 'true or false';
    default:
      return 'an object';
  }
}
