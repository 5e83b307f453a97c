/** `checkpointer install-host` and `uninstall-host`: the executable and its units on the host, put there from the host itself or from a container. */
import { execFile } from 'node:child_process';
import { access, constants, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { promisify } from 'node:util';
import { Command, Option } from 'commander';
import type { Change } from '../host/install.ts';
import { DEFAULT_PLACES, type HostPlaces, UNIT_NAMES } from '../host/units.ts';
import { DEFAULT_KUBECONFIG, DEFAULT_RUNTIME_ENDPOINT, expectTwoLocks, kubeletLockFileFlag, lockFileFlag } from './host-options.ts';
import { InputError } from './input-error.ts';
import { addStoreFlags, flag } from './options.ts';

interface InstallOptions extends Omit<HostPlaces, 'executable' | 'loadCredential' | 'kubeletLockFile'> {
  readonly hostRoot: string;
  readonly executable?: string;
  readonly installPath: string;
  readonly kubeletLockFile?: string;
  readonly guard?: true;
  readonly loadCredential?: true;
  readonly dryRun?: true;
}

interface UninstallOptions extends Pick<InstallOptions, 'hostRoot' | 'installPath' | 'checkpointDir' | 'podManifestPath' | 'dryRun'> {
  readonly purgeStore?: true;
  readonly yes?: true;
}

const hostRootFlag = (): Option => flag('--host-root <dir>', "where the host's file system is mounted").default('/');
const installPathFlag = (): Option =>
  flag('--install-path <file>', 'where the executable lies on the host').default(DEFAULT_PLACES.executable);
const dryRunFlag = (): Option => new Option('--dry-run', 'only show what would change');

export function installHostCommand(): Command {
  return addStoreFlags(new Command('install-host'))
    .description('Put the executable and its systemd units on the host, for recovery before the kubelet starts.')
    .addOption(hostRootFlag())
    .addOption(installPathFlag())
    .addOption(flag('--executable <file>', 'the self-contained executable; by default the one that runs'))
    .addOption(flag('--kubeconfig <file>', 'for the units: whose identity asks the API server').default(DEFAULT_KUBECONFIG))
    .addOption(
      flag('--load-credential', 'let systemd hand over the kubeconfig (LoadCredential=); it must name no files relative to itself'),
    )
    .addOption(lockFileFlag())
    .addOption(flag('--container-runtime-endpoint <endpoint>', 'CRI socket of the container runtime').default(DEFAULT_RUNTIME_ENDPOINT))
    .addOption(kubeletLockFileFlag())
    .addOption(flag('--kubelet-unit <unit>', "the kubelet's unit").default(DEFAULT_PLACES.kubeletUnit))
    .addOption(flag('--node-name <name>', 'name of the node in the API; %H is the name of the host').default(DEFAULT_PLACES.nodeName))
    .addOption(flag('--guard', 'also kubelet-guard.service, for a self-hosted kubelet; needs --kubelet-lock-file'))
    .addOption(dryRunFlag())
    .addHelpText(
      'after',
      `
Run twice it changes nothing the second time. A unit in its way that it did not write is left alone, and is an error.
A file at --install-path is replaced, whoever put it there, and uninstall-host removes it.
The units take effect at the next boot; on the host itself systemd is told to read them at once.

Exit codes: 0 in place; 1 it failed; 2 bad input.

Examples:
  checkpointer install-host --dry-run
  checkpointer install-host --host-root=/host --executable=/checkpointer --node-name=master-1`,
    )
    .action(install);
}

export function uninstallHostCommand(): Command {
  return addStoreFlags(new Command('uninstall-host'))
    .description('Take away everything that install-host put on the host. Active copies stay, and the store without --purge-store.')
    .addOption(hostRootFlag())
    .addOption(installPathFlag())
    .addOption(new Option('--purge-store', 'also delete the store, with every copy and the Secrets in them'))
    .addOption(new Option('--yes', 'with --purge-store: do not ask'))
    .addOption(dryRunFlag())
    .addHelpText(
      'after',
      `
--purge-store is refused while a manifest of a copy lies in --pod-manifest-path, and for anything but a store; no link is followed to one.

Exit codes: 0 done, or nothing to do; 1 it failed, is refused, or was not wanted; 2 bad input.

Examples:
  checkpointer uninstall-host --dry-run
  checkpointer uninstall-host --purge-store --yes`,
    )
    .action(async (options: UninstallOptions) => {
      process.exitCode = await uninstall(options);
    });
}

async function install(options: InstallOptions): Promise<void> {
  const { hostRoot, installPath, guard, dryRun } = options;
  await expectDirectory('--host-root', hostRoot);
  const from = await executableOf(options);
  if (guard === true && options.kubeletLockFile === undefined)
    throw new InputError("--guard needs --kubelet-lock-file: the kubelet's own --lock-file, by which it is known that none runs");
  const places = checkedPlaces(options);
  if (places.kubeletLockFile !== undefined) await expectTwoLocks(places.lockFile, places.kubeletLockFile);
  const { hostUnits } = await import('../host/units.ts');
  const { planInstall } = await import('../host/install.ts');
  const changes = await planInstall(hostRoot, { executable: installPath, from, units: hostUnits(places, guard === true) });
  await perform(hostRoot, changes, dryRun === true);
}

async function uninstall(options: UninstallOptions): Promise<number> {
  const { hostRoot, installPath, checkpointDir, podManifestPath } = options;
  const dryRun = options.dryRun === true;
  await expectDirectory('--host-root', hostRoot);
  const { planUninstall } = await import('../host/install.ts');
  const changes = await planUninstall(hostRoot, installPath);
  const places = { root: hostRoot, checkpointDir: resolve(checkpointDir), podManifestPath: resolve(podManifestPath) };
  const { findStore, purgeStore } = await import('../host/purge.ts');
  const store = options.purgeStore === true ? await findStore(places) : undefined;
  const what = store?.pivoted === true ? ' and what unpivot puts back' : '';
  if (store !== undefined && !dryRun && options.yes !== true) {
    const { confirmed } = await import('./confirm.ts');
    if (!(await confirmed(`Delete the store ${store.path} with every copy${what} in it, for good?`))) {
      process.stdout.write('nothing was changed\n');
      return 1;
    }
  }
  const names = UNIT_NAMES.filter((name) => changes.some(({ kind, path }) => kind === 'remove' && path === `/etc/systemd/system/${name}`));
  if (!dryRun && names.length > 0) await systemctl(hostRoot, 'stop', ...names);
  await perform(
    hostRoot,
    changes,
    dryRun,
    store === undefined ? undefined : `remove  ${places.checkpointDir}/ with every copy${what} in it`,
  );
  if (store !== undefined && !dryRun) await purgeStore(places, store);
  return 0;
}

/** `also`: what the caller does afterwards. */
async function perform(hostRoot: string, changes: readonly Change[], dryRun: boolean, also?: string): Promise<void> {
  const { carryOut, describeChange, isChange } = await import('../host/install.ts');
  for (const change of changes) {
    process.stdout.write(`${describeChange(change)}\n`);
    if (!dryRun) await carryOut(hostRoot, change);
  }
  if (also !== undefined) process.stdout.write(`${also}\n`);
  if (!changes.some(isChange)) process.stdout.write(also === undefined ? 'nothing to change\n' : '');
  else if (!dryRun) await systemctl(hostRoot, 'daemon-reload');
}

/** Only on the host itself and where systemd runs; from a container the next boot reads the units. */
async function systemctl(hostRoot: string, ...args: string[]): Promise<void> {
  const running = await stat('/run/systemd/system').catch(() => undefined);
  if (hostRoot !== '/' || running === undefined) return;
  try {
    await promisify(execFile)('systemctl', args, { timeout: 30_000 });
  } catch (error) {
    throw new Error(`systemctl ${args.join(' ')}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

async function executableOf({ executable }: InstallOptions): Promise<string> {
  if (executable === undefined) {
    const { isSea } = await import('node:sea');
    if (isSea()) return process.execPath;
    throw new InputError('this is not the self-contained executable: name it with --executable (node scripts/executable.ts builds it)');
  }
  await access(executable, constants.R_OK | constants.X_OK).catch(() => {
    throw new InputError(`--executable ${executable}: there is no such program`);
  });
  return executable;
}

/** ProtectHome=yes and PrivateTmp=yes. */
const HIDDEN = /^\/(home|root|run\/user|tmp|var\/tmp)\//;

/** What goes into units goes through systemd's own quoting rules; only what needs none is taken. */
function checkedPlaces(options: InstallOptions): HostPlaces {
  const { installPath, kubeletUnit, nodeName, containerRuntimeEndpoint, kubeletLockFile } = options;
  const paths = {
    '--install-path': installPath,
    '--checkpoint-dir': options.checkpointDir,
    '--pod-manifest-path': options.podManifestPath,
    '--kubeconfig': options.kubeconfig,
    '--lock-file': options.lockFile,
    ...(kubeletLockFile === undefined ? {} : { '--kubelet-lock-file': kubeletLockFile }),
  };
  for (const [name, path] of Object.entries(paths))
    if (!/^(\/[A-Za-z0-9._@+-]+)+$/.test(path) || /\/\.\.?(\/|$)/.test(path))
      throw new InputError(`${name} ${path}: expected an absolute path of letters, digits and ._@+- for a unit`);
  for (const [name, path] of Object.entries(paths)) {
    // systemd itself reads a credential.
    if (name === '--kubeconfig' && options.loadCredential === true) continue;
    if (HIDDEN.test(path))
      throw new InputError(`${name} ${path}: the units do not see /home, /root, /run/user and the /tmp of others; expected another place`);
  }
  if (!/^unix:\/\/(\/[A-Za-z0-9._@+-]+)+$/.test(containerRuntimeEndpoint))
    throw new InputError(`--container-runtime-endpoint ${containerRuntimeEndpoint}: expected unix:// and an absolute path`);
  if (!/^[A-Za-z0-9@_.-]+\.service$/.test(kubeletUnit)) throw new InputError(`--kubelet-unit ${kubeletUnit}: expected a service`);
  if (!/^(%H|[A-Za-z0-9.-]+)$/.test(nodeName)) throw new InputError(`--node-name ${nodeName}: expected a name of a node, or %H`);
  return {
    executable: installPath,
    checkpointDir: options.checkpointDir,
    podManifestPath: options.podManifestPath,
    kubeconfig: options.kubeconfig,
    lockFile: options.lockFile,
    containerRuntimeEndpoint,
    kubeletLockFile,
    kubeletUnit,
    nodeName,
    loadCredential: options.loadCredential === true,
  };
}

async function expectDirectory(name: string, path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory() !== true) throw new InputError(`${name} ${path}: there is no such directory`);
}
