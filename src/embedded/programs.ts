/** The control plane's programs of the embedded node by the names of the real ones, each loaded only when it is started. */
export type Program = (argv: readonly string[]) => Promise<void>;

export const programs: Readonly<Record<string, Program>> = {
  'kube-apiserver': async (argv) => run((await import('./apiserver/program.ts')).kubeApiserver, argv),
  'kube-controller-manager': async (argv) => run((await import('./controllers/manager-program.ts')).kubeControllerManager, argv),
  'kube-scheduler': async (argv) => run((await import('./controllers/scheduler-program.ts')).kubeScheduler, argv),
};

/** As the real programs end: one line on standard error and exit code 1 for whatever goes wrong, 0 after SIGTERM. */
async function run(program: Program, argv: readonly string[]): Promise<void> {
  try {
    await program(argv);
  } catch (error) {
    console.error(`Error: ${error instanceof Error ? error.message : String(error)}`);
    // What was opened before the failure must not keep the process.
    process.exit(1);
  }
  process.exit(0);
}
