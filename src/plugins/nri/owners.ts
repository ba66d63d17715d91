/** Which plugin set what: two plugins must not set the same thing to their own mind. */

import { Field } from "../../api/gen/nri/v1alpha1/api_pb.ts";
import { invalidArgument } from "../../core/errors.ts";

interface Owned {
  readonly simple: Map<Field, string>;
  readonly compound: Map<Field, Map<string, string>>;
}

/** See the file's comment. Containers are told apart, since plugins may update others than the one at hand. */
export class Owners {
  readonly #containers = new Map<string, Owned>();

  /**
   * `plugin` sets a field (or one key of it).
   * @throws invalid-argument when another plugin did
   */
  claim(container: string, plugin: string, field: Field, key?: string): void {
    const owned = this.#of(container);
    const holders: Map<Field | string, string> = key === undefined ? owned.simple : compound(owned, field);
    const other = holders.get(key ?? field);
    if (other !== undefined)
      throw invalidArgument(
        `plugins "${plugin}" and "${other}" both tried to set ${[Field[field], key].filter(Boolean).join(" ")}`,
      );
    holders.set(key ?? field, plugin);
  }

  /** `plugin` sets a field that several may set. */
  join(container: string, plugin: string, field: Field): void {
    const { simple } = this.#of(container);
    const others = simple.get(field);
    simple.set(field, others === undefined ? plugin : `${others},${plugin}`);
  }

  /** A plugin took back what was set: another may set it anew. */
  release(container: string, field: Field, key?: string): void {
    const owned = this.#of(container);
    if (key === undefined) owned.simple.delete(field);
    else owned.compound.get(field)?.delete(key);
  }

  /** The owner, or the owners separated by commas. */
  simple(container: string, field: Field): string | undefined {
    return this.#containers.get(container)?.simple.get(field);
  }

  /** Owners by key. */
  keys(container: string, field: Field): ReadonlyMap<string, string> {
    return this.#containers.get(container)?.compound.get(field) ?? new Map();
  }

  /** As the message OwningPlugins. */
  toMessage() {
    return {
      owners: Object.fromEntries(
        [...this.#containers].map(([id, owned]) => [
          id,
          {
            simple: Object.fromEntries(owned.simple),
            compound: Object.fromEntries(
              [...owned.compound].map(([field, keys]) => [field, { owners: Object.fromEntries(keys) }]),
            ),
          },
        ]),
      ),
    };
  }

  #of(container: string): Owned {
    let owned = this.#containers.get(container);
    if (owned === undefined) {
      owned = { simple: new Map(), compound: new Map() };
      this.#containers.set(container, owned);
    }
    return owned;
  }
}

function compound(owned: Owned, field: Field): Map<string, string> {
  let keys = owned.compound.get(field);
  if (keys === undefined) {
    keys = new Map();
    owned.compound.set(field, keys);
  }
  return keys;
}
