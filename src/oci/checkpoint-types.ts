/** Media types and annotations of container checkpoints, as containerd's clients make and look for them. */

/** CRIU's images as a tar. */
export const CHECKPOINT_TYPE = "application/vnd.containerd.container.criu.checkpoint.criu.tar";
/** The container's spec, an Any. */
export const CHECKPOINT_CONFIG_TYPE = "application/vnd.containerd.container.checkpoint.config.v1+proto";
/** The options the checkpoint was made with, an Any. */
export const CHECKPOINT_OPTIONS_TYPE = "application/vnd.containerd.container.checkpoint.options.v1+proto";
/** Runtime options of the container, an Any. */
export const CHECKPOINT_RUNTIME_OPTIONS_TYPE =
  "application/vnd.containerd.container.checkpoint.runtime.options+proto";

/** Annotations of a checkpoint's index. */
export const CHECKPOINT_IMAGE_NAME = "org.opencontainers.image.ref.name";
export const CHECKPOINT_RUNTIME_NAME = "io.containerd.checkpoint.runtime";
export const CHECKPOINT_SNAPSHOTTER_NAME = "io.containerd.checkpoint.snapshotter";
