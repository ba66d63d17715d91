/** A mount as clients exchange it: fstab-like options as strings (containerd.types.Mount). */
export interface Mount {
  readonly type: string;
  readonly source: string;
  /** Sub path below the target, "" mostly. */
  readonly target: string;
  readonly options: readonly string[];
}
