/** Resolves at the first SIGTERM or SIGINT. Called before anything says that the program runs: from then on it ends in order. */
export function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    process.once('SIGTERM', () => resolve());
    process.once('SIGINT', () => resolve());
  });
}
