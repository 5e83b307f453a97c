/** While the API server is away, one watch looks for its return and the others wait for it: this is where they wait. */

export interface Gate {
  /** True when it had to wait; at once, with false, while nothing is to be waited for. Ends with the signal. */
  wait(signal: AbortSignal): Promise<boolean>;
  /** Lets everybody go who waits. */
  open(): void;
}

export function createGate(isClosed: () => boolean): Gate {
  const waiting = new Set<() => void>();
  return {
    async wait(signal) {
      if (signal.aborted || !isClosed()) return false;
      await new Promise<void>((resolve) => {
        const go = () => {
          waiting.delete(go);
          signal.removeEventListener('abort', go);
          resolve();
        };
        waiting.add(go);
        signal.addEventListener('abort', go);
      });
      return true;
    },
    open() {
      for (const go of [...waiting]) go();
    },
  };
}
