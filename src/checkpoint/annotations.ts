/** Annotations that the checkpointer reads and writes. The first two are bootkube's: a pod marked for its predecessor is marked for it. */
export const CHECKPOINT = 'checkpointer.alpha.coreos.com/checkpoint';
export const CHECKPOINT_OF = 'checkpointer.alpha.coreos.com/checkpoint-of';

const PREFIX = 'pod-checkpointer.io';
/** The workload's key: which workload a copy belongs to, readable from a manifest or a sandbox without the store. */
export const WORKLOAD = `${PREFIX}/workload`;
export const GENERATION = `${PREFIX}/generation`;
export const ACTIVATION = `${PREFIX}/activation`;
/** Set by a user on a pod: "overlap" says that copy and parent may run side by side although the pod uses the host's network, "exclusive" that they may not. */
export const HAND_BACK = `${PREFIX}/hand-back`;
/** Set by a user on a pod: names of init containers, with commas between them, that its copy does without. */
export const OMIT_INIT_CONTAINERS = `${PREFIX}/omit-init-containers`;

/** Kubernetes' own: where the kubelet has a pod from (`file`, `http`, `api`), and the mark of a mirror pod. */
export const CONFIG_SOURCE = 'kubernetes.io/config.source';
export const CONFIG_MIRROR = 'kubernetes.io/config.mirror';
