import type { NamespacedCall } from "../../core/call.ts";
import type { LocalContentStore } from "../../core/content/content.ts";
import type { CompareOptions, Comparer } from "../../core/diff/diff.ts";
import { notImplemented } from "../../core/errors.ts";
import type { Mount } from "../../core/mounts/mount.ts";
import type { Descriptor } from "../../core/oci.ts";

/** Makes layers with a helper process. */
export class HelperComparer implements Comparer {
  readonly #content: LocalContentStore;

  constructor(content: LocalContentStore) {
    this.#content = content;
  }

  compare(
    _call: NamespacedCall,
    _lower: readonly Mount[],
    _upper: readonly Mount[],
    _options: CompareOptions = {},
  ): Promise<Descriptor> {
    return Promise.reject(notImplemented(`make layer: not yet (${typeof this.#content})`));
  }
}
