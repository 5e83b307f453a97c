/** Flags that more than one command has, and the checks of their values. A flag goes before its environment variable, that before the default. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { parseDuration } from '../platform/duration.ts';
import { InputError } from './input-error.ts';

export const DEFAULT_CHECKPOINT_DIR = '/var/lib/pod-checkpointer';
export const DEFAULT_POD_MANIFEST_PATH = '/etc/kubernetes/manifests';

/** `--activate-after` reads CHECKPOINTER_ACTIVATE_AFTER. */
export function flag(flags: string, description: string): Option {
  const option = new Option(flags, description);
  return option.env(`CHECKPOINTER_${option.name().toUpperCase().replaceAll('-', '_')}`);
}

export function durationFlag(flags: string, description: string, byDefault: string): Option {
  return flag(flags, description).argParser(parsedBy(parseDuration)).default(parseDuration(byDefault), byDefault);
}

/** For a flag whose value a parser of ours reads; its one-line Error becomes commander's. */
export function parsedBy<T>(parse: (text: string) => T): (text: string) => T {
  return (text) => {
    try {
      return parse(text);
    } catch (error) {
      throw new InvalidArgumentError(error instanceof Error ? error.message : String(error));
    }
  };
}

export function count(text: string): number {
  if (!/^[0-9]{1,9}$/.test(text)) throw new InvalidArgumentError(`"${text}" is not a whole number.`);
  return Number(text);
}

/** `10.96.0.1:443`, `[fd00::1]:443`. Throws an InputError for anything else. */
export function parseKubernetesService(given: string): { readonly host: string; readonly port: number } {
  const match = /^\[?([0-9A-Za-z:.-]+?)\]?:([0-9]{1,5})$/.exec(given);
  if (match === null) throw new InputError(`--kubernetes-service ${given}: expected host:port, such as 10.96.0.1:443`);
  return { host: match[1] ?? '', port: Number(match[2]) };
}

export function addStoreFlags(command: Command): Command {
  return command
    .addOption(
      flag('--checkpoint-dir <dir>', 'where the copies are kept; the same path on the host and in the container').default(
        DEFAULT_CHECKPOINT_DIR,
      ),
    )
    .addOption(
      flag('--pod-manifest-path <dir>', "the kubelet's static pod directory (its staticPodPath)").default(DEFAULT_POD_MANIFEST_PATH),
    );
}
