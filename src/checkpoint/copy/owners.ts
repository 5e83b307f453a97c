/** Whose files the kubelet makes: the group that `fsGroup` names, and for tokens and trust bundles the user of all containers. */
import type { V1Pod } from '@kubernetes/client-node';
import { type Rendering, refuse } from './rendering.ts';

/** The group that the kubelet gives to a volume's files, making them readable for it; these volumes are read-only, so never writable. */
export function groupOf(r: Rendering): number | undefined {
  return id(r, 'InvalidGroup', 'spec.securityContext.fsGroup', r.parent.spec?.securityContext?.fsGroup);
}

/** The user that every container runs as, if they all say so and agree (kubelet: FsUserFrom). It owns the tokens, so that it can read them. */
export function userOf(r: Rendering): number | undefined {
  return id(r, 'InvalidUser', 'spec.securityContext.runAsUser', commonUser(r.parent));
}

function commonUser(pod: V1Pod): number | undefined {
  const users = [...(pod.spec?.initContainers ?? []), ...(pod.spec?.containers ?? [])].map(
    (container) => container.securityContext?.runAsUser ?? pod.spec?.securityContext?.runAsUser,
  );
  return users.every((user) => user === users[0]) ? users[0] : undefined;
}

function id(r: Rendering, code: string, field: string, value: number | undefined): number | undefined {
  if (value === undefined || (Number.isInteger(value) && value >= 0 && value < 2 ** 31)) return value;
  const what = code === 'InvalidUser' ? 'user' : 'group';
  if (!r.refusals.some((refusal) => refusal.code === code))
    refuse(r, code, field, `${value} is not a ${what} id. Use a number from 0 to 2147483647.`);
  return undefined;
}
