/** `checkpointer sanitize`: the copies that would be made of pods in files, or the reasons against them. Needs neither a cluster nor a daemon. */
import type { V1Pod } from '@kubernetes/client-node';
import { Command } from 'commander';
import { selects } from '../checkpoint/copy/trust-bundles.ts';
import { explainCopy } from '../checkpoint/copy.ts';
import type { ApiObject, CopyPolicy, ObjectLookup, ObjectRef, ObjectState, Referred } from '../checkpoint/copy-types.ts';
import { materialize } from '../checkpoint/materialize.ts';
import { KUBERNETES_SERVICE, objectKey } from '../checkpoint/references.ts';
import { isMarked } from '../checkpoint/selection.ts';
import { generationPath, workloadPath } from '../checkpoint/store/paths.ts';
import { type Workload, workloadOf } from '../checkpoint/workload.ts';
import { InputError } from './input-error.ts';
import { DEFAULT_CHECKPOINT_DIR, flag, parseKubernetesService } from './options.ts';
import { type Document, readDirectory, readDocuments } from './sanitize-documents.ts';
import { asJson, asYaml, oneLine, type Sanitized } from './sanitize-output.ts';

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
Objects may also stand beside the pods. A token, and the address of the Service default/kubernetes where it is not among them, is a
placeholder. Warnings go to standard error. Exit code 1 where a pod has no copy, 2 where a document cannot be used; the others are printed.

Examples:
  checkpointer sanitize -f pod.yaml --objects secrets/ --explain
  kubectl get pods -n kube-system -o yaml | checkpointer sanitize -f - -o json`,
    )
    .action(async (options: SanitizeOptions) => {
      const { results, faults } = await sanitize(options);
      if (results.length > 0) process.stdout.write(options.output === 'json' ? asJson(results) : asYaml(results));
      for (const { title, outcome, warnings } of results)
        if (outcome.kind === 'copy')
          for (const { code, field, message } of warnings)
            process.stderr.write(`warning: ${oneLine(`${title}: ${code} ${field}: ${message}`)}\n`);
      // The other pods were printed; what is wrong in the input is the graver failure.
      if (faults.length > 0) throw new InputError(faults.map(oneLine).join('\nerror: '));
      const without = results.filter(({ outcome }) => outcome.kind !== 'copy').length;
      if (without > 0) throw new Error(`${without} of ${results.length} pods have no copy: the reasons are in the output`);
    });
}

interface Run {
  readonly results: readonly Sanitized[];
  /** One line for each document that could not be used. */
  readonly faults: readonly string[];
}

async function sanitize({ filename, objects, secretEnv, kubernetesService, explain }: SanitizeOptions): Promise<Run> {
  const policy: CopyPolicy = {
    secretEnv,
    ...(kubernetesService !== undefined && { kubernetesService: parseKubernetesService(kubernetesService) }),
  };
  const given = await readDocuments(filename);
  const beside = objects === undefined ? { documents: [], faults: [] } : await readDirectory(objects);
  const faults = [...given.faults, ...beside.faults];
  const pods = given.documents.filter(({ kind }) => kind === 'Pod');
  if (pods.length === 0 && faults.length === 0)
    throw new InputError(`${filename}: holds no Pod; give a pod as the API server returns it (kubectl get pod -o yaml)`);
  const lookup = lookupIn([...given.documents, ...beside.documents]);
  const results = pods.flatMap((document): Sanitized[] => {
    const pod = podOf(document);
    const title = `${pod.metadata?.namespace}/${pod.metadata?.name}`;
    try {
      const { outcome, changes, warnings } = explainCopy(pod, lookup, policy);
      return [
        { title, marked: isMarked(pod), outcome: placed(outcome, workloadOf(pod)), changes: explain === true ? changes : [], warnings },
      ];
    } catch (error) {
      // Something of another type, where nobody looked for it: what a person wrote, not what an API server returns.
      faults.push(`${filename}: Pod ${title} cannot be understood: ${error instanceof Error ? error.message : String(error)}`);
      return [];
    }
  });
  return { results, faults };
}

/** The manifest as it would be stored as the first generation, in the default place. */
function placed(outcome: Sanitized['outcome'], workload: Workload): Sanitized['outcome'] {
  if (outcome.kind !== 'copy') return outcome;
  const generationDir = generationPath(workloadPath(DEFAULT_CHECKPOINT_DIR, workload), 1);
  return { kind: 'copy', copy: { ...outcome.copy, pod: materialize(outcome.copy.pod, { generationDir, generation: 1 }) } };
}

/** With what a file may leave out and an API server never does. */
function podOf(document: Document): V1Pod {
  const metadata = document.metadata ?? {};
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
