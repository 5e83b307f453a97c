/** `checkpointer sanitize`: the copies that would be made of pods in files, or the reasons against them. Needs neither a cluster nor a daemon. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { V1ObjectMeta, V1Pod } from '@kubernetes/client-node';
import { Command } from 'commander';
import { CORE_SCHEMA, loadAll } from 'js-yaml';
import { selects } from '../checkpoint/copy/trust-bundles.ts';
import { explainCopy } from '../checkpoint/copy.ts';
import type { ApiObject, CopyPolicy, ObjectLookup, ObjectRef, ObjectState, Referred } from '../checkpoint/copy-types.ts';
import { materialize } from '../checkpoint/materialize.ts';
import { KUBERNETES_SERVICE, objectKey } from '../checkpoint/references.ts';
import { isMarked } from '../checkpoint/selection.ts';
import { InputError } from './input-error.ts';
import { DEFAULT_CHECKPOINT_DIR, flag, parseKubernetesService } from './options.ts';
import { asJson, asYaml, type Sanitized } from './sanitize-output.ts';

interface SanitizeOptions {
  readonly filename: string;
  readonly objects?: string;
  readonly output: 'yaml' | 'json';
  readonly explain?: boolean;
  readonly secretEnv: CopyPolicy['secretEnv'];
  readonly kubernetesService?: string;
}

export function sanitizeCommand(): Command {
  return new Command('sanitize')
    .description('Print the copy that would be made of a pod, or the reasons why there is none. Needs no cluster.')
    .addOption(
      flag('-f, --filename <file>', 'the pod: YAML or JSON, several documents or a List; - reads standard input').makeOptionMandatory(),
    )
    .addOption(flag('--objects <dir>', 'Secrets, ConfigMaps and other objects that the pod names: YAML and JSON files of this directory'))
    .addOption(flag('-o, --output <format>', 'how to print it').choices(['yaml', 'json']).default('yaml'))
    .addOption(flag('--explain', 'say for each change which rule made it'))
    .addOption(flag('--secret-env <policy>', 'as for run').choices(['refuse', 'inline']).default('refuse'))
    .addOption(flag('--kubernetes-service <host:port>', 'as for run'))
    .addHelpText(
      'after',
      `
Objects may also stand beside the pods. A token is a placeholder: the API server issues it. Exit code 1 where a pod has no copy.

Examples:
  checkpointer sanitize -f pod.yaml --objects secrets/ --explain
  kubectl get pods -n kube-system -o yaml | checkpointer sanitize -f - -o json`,
    )
    .action(async (options: SanitizeOptions) => {
      const results = await sanitize(options);
      process.stdout.write(options.output === 'json' ? asJson(results) : asYaml(results));
      const without = results.filter(({ outcome }) => outcome.kind !== 'copy').length;
      if (without > 0) throw new Error(`${without} of ${results.length} pods have no copy: the reasons are in the output`);
    });
}

/** An object as it stands in a file. */
interface Document {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata?: V1ObjectMeta;
  readonly items?: unknown;
}

async function sanitize({ filename, objects, secretEnv, kubernetesService, explain }: SanitizeOptions): Promise<Sanitized[]> {
  const documents = parse(await readInput(filename), filename);
  const beside = objects === undefined ? [] : await readDirectory(objects);
  const pods = documents.filter(({ kind }) => kind === 'Pod');
  if (pods.length === 0)
    throw new InputError(`${filename}: holds no Pod; give a pod as the API server returns it (kubectl get pod -o yaml)`);
  const lookup = lookupIn([...documents, ...beside]);
  const policy: CopyPolicy = {
    secretEnv,
    ...(kubernetesService !== undefined && { kubernetesService: parseKubernetesService(kubernetesService) }),
  };
  return pods.map((document, i) => {
    const pod = podOf(document, `${filename}: pod ${i + 1}`);
    try {
      const { outcome, changes } = explainCopy(pod, lookup, policy);
      const title = `${pod.metadata?.namespace}/${pod.metadata?.name}`;
      return { title, marked: isMarked(pod), outcome: placed(outcome), changes: explain === true ? changes : [] };
    } catch (error) {
      // A list where an object is expected, or the like: what a person wrote, not what an API server returns.
      throw new InputError(`${filename}: pod ${i + 1} cannot be understood: ${error instanceof Error ? error.message : String(error)}`);
    }
  });
}

/** The manifest as it would be stored as the first generation, in the default place. */
function placed(outcome: Sanitized['outcome']): Sanitized['outcome'] {
  if (outcome.kind !== 'copy') return outcome;
  const generationDir = `${DEFAULT_CHECKPOINT_DIR}/<workload>/generations/1`;
  return { kind: 'copy', copy: { ...outcome.copy, pod: materialize(outcome.copy.pod, { generationDir, generation: 1 }) } };
}

async function readInput(filename: string): Promise<string> {
  if (filename === '-') return text(process.stdin);
  return readFile(filename, 'utf8').catch((error: unknown) => {
    throw new InputError(`-f ${filename}: cannot be read (${codeOf(error)}); expected a file with a pod, or - for standard input`);
  });
}

async function readDirectory(directory: string): Promise<Document[]> {
  const names = await readdir(directory).catch((error: unknown) => {
    throw new InputError(`--objects ${directory}: cannot be read (${codeOf(error)}); expected a directory of YAML or JSON files`);
  });
  const files = names.filter((name) => /\.(ya?ml|json)$/.test(name)).sort();
  const documents = await Promise.all(files.map(async (name) => parse(await readInput(join(directory, name)), join(directory, name))));
  return documents.flat();
}

/** All documents of a file; those of a List each by itself. */
function parse(content: string, name: string): Document[] {
  let documents: unknown[];
  try {
    documents = loadAll(content, { filename: name, schema: CORE_SCHEMA });
  } catch (error) {
    const why = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
    throw new InputError(`${name}: is neither YAML nor JSON: ${why}`);
  }
  return documents.flatMap((document): Document[] => {
    if (document === null || document === undefined) return [];
    if (typeof document !== 'object' || Array.isArray(document))
      throw new InputError(`${name}: a document in it is not an object; expected a pod`);
    const { items } = document as Document;
    return Array.isArray(items) ? (items.filter((item) => typeof item === 'object' && item !== null) as Document[]) : [document];
  });
}

/** With what a file may leave out and an API server never does. */
function podOf(document: Document, name: string): V1Pod {
  const metadata = document.metadata ?? {};
  if (typeof metadata.name !== 'string' || metadata.name === '')
    throw new InputError(`${name}: has no metadata.name; expected a pod as the API server returns it`);
  return { ...document, metadata: { ...metadata, namespace: metadata.namespace ?? 'default', uid: metadata.uid ?? 'no-uid' } } as V1Pod;
}

function lookupIn(documents: readonly Document[]): ObjectLookup {
  const find = ({ kind, namespace, name }: { readonly kind: string; readonly namespace: string; readonly name: string }) =>
    documents.find(
      (d) => d.kind === kind && d.metadata?.name === name && (namespace === '' || (d.metadata?.namespace ?? 'default') === namespace),
    );
  return (ref: ObjectRef): ObjectState<ApiObject> => {
    switch (ref.kind) {
      case 'Token':
        return { state: 'present', object: PLACEHOLDER };
      case 'ClusterTrustBundle': {
        const bundles = documents.filter(
          ({ kind, metadata }) =>
            kind === ref.kind && (ref.name === '' ? selects(ref.labelSelector, metadata?.labels) : metadata?.name === ref.name),
        ) as unknown as Referred['ClusterTrustBundle'];
        const chosen = bundles.filter(({ spec }) => ref.name !== '' || spec.signerName === ref.signerName);
        return chosen.length === 0 ? { state: 'absent' } : { state: 'present', object: chosen };
      }
      case 'PersistentVolumeClaim': {
        const claim = find(ref) as Referred['PersistentVolumeClaim']['claim'] | undefined;
        if (claim === undefined) return { state: 'absent' };
        const volume = find({ kind: 'PersistentVolume', namespace: '', name: claim.spec?.volumeName ?? '' });
        return {
          state: 'present',
          object: { claim, volume: volume === undefined ? { state: 'absent' } : { state: 'present', object: volume as object } },
        };
      }
      default: {
        const object = find(ref) ?? (objectKey(ref) === objectKey(KUBERNETES_SERVICE) ? SERVICE : undefined);
        return object === undefined ? { state: 'absent' } : { state: 'present', object: object as ApiObject };
      }
    }
  };
}

const PLACEHOLDER: Referred['Token'] = {
  token: '(the API server issues this token)',
  renewAt: '1970-01-01T00:00:00.000Z',
  expiresAt: '1970-01-01T00:00:00.000Z',
};

/** Every cluster has it; its address is not known here. */
const SERVICE: Referred['Service'] = {
  spec: { clusterIP: '(address of the Service default/kubernetes)', ports: [{ name: 'https', port: 443 }] },
};

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}
