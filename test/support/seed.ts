/** Where generated cases begin: somewhere else with each run. fast-check prints the seed when a case fails; FC_SEED=<seed> runs the same cases again. */
export const SEED: number = Number(process.env['FC_SEED'] ?? Date.now() % 2 ** 31);
