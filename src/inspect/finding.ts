/** Something that a person should know before the next power cut. */
export interface Finding {
  /** CamelCase and stable: what an operator searches the runbook for. */
  readonly code: string;
  /** `fatal`: the workload does not come back. `warning`: it does, and something about it may go wrong. */
  readonly level: 'warning' | 'fatal';
  /** One sentence: what was seen. */
  readonly message: string;
  /** One sentence: what to do. */
  readonly advice: string;
}

export const warning = (code: string, message: string, advice: string): Finding => ({ code, level: 'warning', message, advice });
export const fatal = (code: string, message: string, advice: string): Finding => ({ code, level: 'fatal', message, advice });
