/** The sources that `decide` has to ask for: what they find out costs requests, so each looks only while its question is open. */
import type { V1Pod } from '@kubernetes/client-node';
import type { GenerationNumber, Observation, Questions } from '../checkpoint/model.ts';
import { type Workload, type WorkloadKey, workloadKey } from '../checkpoint/workload.ts';
import { createNodeProbeSource } from './node-probes.ts';
import type { Asked } from './observe.ts';
import { createRefusalSource } from './refusals.ts';
import type { ApiSnapshot, OwnerQuestion, OwnersSource, RuntimeSource } from './snapshots.ts';

export interface AskedSources {
  /** `workloads`: all of which something is known now; their owners are followed. */
  ask(questions: Questions, workloads: Iterable<Workload>, api: ApiSnapshot): void;
  snapshot(): Asked;
}

export interface AskedOptions {
  /** The stored pod of a generation. */
  readonly load: (workload: Workload, generation: GenerationNumber) => Promise<V1Pod>;
  readonly runtime: Pick<RuntimeSource, 'hasImage'>;
  readonly owners: Pick<OwnersSource, 'track' | 'snapshot'>;
  readonly runsIn: Observation['runsIn'];
  readonly steppedDown: Observation['steppedDown'];
  /** Called when an answer changed. */
  readonly onChange: () => void;
}

export function createAskedSources({ load, runtime, owners, runsIn, steppedDown, onChange }: AskedOptions): AskedSources {
  const probes = createNodeProbeSource(load, onChange);
  const refusals = createRefusalSource(load, runtime, onChange);
  return {
    ask(questions, workloads, api) {
      probes.ask(questions.probes);
      refusals.ask(questions.refusals, api);
      const asked = new Set(questions.owners);
      const tracked = [...workloads].map((workload): [WorkloadKey, OwnerQuestion] => {
        const key = workloadKey(workload);
        return [key, { workload, ask: asked.has(key) }];
      });
      owners.track(new Map(tracked));
    },
    snapshot: () => ({
      owners: owners.snapshot().owners,
      answering: probes.snapshot(),
      refusals: refusals.snapshot(),
      runsIn,
      steppedDown,
    }),
  };
}
