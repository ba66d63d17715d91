/** Images by id and by reference, in memory: what lists and look-ups answer from. Pure: {@link ./service.ts} keeps it up to date. */
import { failedPrecondition, notFound } from "../../core/errors.ts";
import { normalizeReference, parseReference } from "../../oci/reference.ts";
import type { LoadedImage } from "./load.ts";

/** An image with all its names. */
export interface IndexedImage extends Omit<LoadedImage, "pinned"> {
  /** Tags first, then digests, then the id. */
  readonly references: readonly string[];
  readonly pinned: boolean;
}

const ID = /^(?:[a-z0-9+._-]+:)?[a-f0-9]+$/;

/** See the file's comment. */
export class ImageIndex {
  readonly #images = new Map<string, LoadedImage>();
  /** Reference to id and whether that record is pinned. */
  readonly #references = new Map<string, { readonly id: string; readonly pinned: boolean }>();

  /** Puts a record in; it replaces an earlier one of the same name. */
  set(reference: string, image: LoadedImage): void {
    const before = this.#references.get(reference);
    this.#references.set(reference, { id: image.id, pinned: image.pinned });
    this.#images.set(image.id, image);
    if (before !== undefined && before.id !== image.id) this.#forgetUnnamed(before.id);
  }

  delete(reference: string): void {
    const before = this.#references.get(reference);
    if (before === undefined) return;
    this.#references.delete(reference);
    this.#forgetUnnamed(before.id);
  }

  /** Every reference known. */
  references(): string[] {
    return [...this.#references.keys()];
  }

  list(): IndexedImage[] {
    const names = new Map<string, { references: string[]; pinned: boolean }>();
    for (const [reference, { id, pinned }] of this.#references) {
      const entry = names.get(id) ?? { references: [], pinned: false };
      entry.references.push(reference);
      entry.pinned ||= pinned;
      names.set(id, entry);
    }
    return [...this.#images.values()].map((image) => withNames(image, names.get(image.id)));
  }

  /**
   * By reference (short names are completed), id, or unambiguous prefix of an id.
   * @throws not-found, failed-precondition when several ids begin so
   */
  resolve(text: string): IndexedImage {
    const id = this.#images.has(text) ? text : (this.#byReference(text) ?? this.#byPrefix(text));
    const image = id === undefined ? undefined : this.#images.get(id);
    if (image === undefined) throw notFound(`image "${text}"`);
    const named = [...this.#references].filter(([, r]) => r.id === image.id);
    return withNames(image, {
      references: named.map(([reference]) => reference),
      pinned: named.some(([, r]) => r.pinned),
    });
  }

  #byReference(text: string): string | undefined {
    const exact = this.#references.get(text);
    if (exact !== undefined) return exact.id;
    const name = tryNormalize(text);
    return name === undefined ? undefined : this.#references.get(name)?.id;
  }

  #byPrefix(text: string): string | undefined {
    if (text === "" || !ID.test(text)) return undefined;
    const found = [...this.#images.keys()].filter(
      (id) => id.startsWith(text) || id.slice(id.indexOf(":") + 1).startsWith(text),
    );
    if (found.length > 1) throw failedPrecondition(`image "${text}": several images have ids that begin so`);
    return found[0];
  }

  #forgetUnnamed(id: string): void {
    for (const reference of this.#references.values()) if (reference.id === id) return;
    this.#images.delete(id);
  }
}

function withNames(
  image: LoadedImage,
  names: { readonly references: readonly string[]; readonly pinned: boolean } | undefined,
): IndexedImage {
  const rank = (reference: string): number => (reference === image.id ? 2 : reference.includes("@") ? 1 : 0);
  const references = (names?.references ?? []).toSorted(
    (a, b) => rank(a) - rank(b) || (a < b ? -1 : a > b ? 1 : 0),
  );
  return { ...image, references, pinned: names?.pinned ?? false };
}

/**
 * A reference as records are named: short names completed, and with a digest no tag (both together mean the digest).
 * @throws invalid-argument
 */
export function recordName(text: string): string {
  const full = normalizeReference(text);
  const { locator, digest } = parseReference(full);
  return digest === undefined ? full : `${locator}@${digest}`;
}

function tryNormalize(text: string): string | undefined {
  try {
    return recordName(text);
  } catch {
    return undefined;
  }
}

/** References as CRI sorts them: by tag and by digest; ids and what is no reference are in neither. */
export function splitReferences(references: readonly string[]): { tags: string[]; digests: string[] } {
  const tags: string[] = [];
  const digests: string[] = [];
  for (const text of references) {
    try {
      const { digest, tag } = parseReference(text);
      if (digest !== undefined) digests.push(text);
      else if (tag !== undefined) tags.push(text);
    } catch {
      // an id, or a name of another tool's making
    }
  }
  return { tags, digests };
}

/** Does a list filter mean the image? A name without a tag means every tag of it. */
export function matches(image: IndexedImage, wanted: string): boolean {
  if (image.id === wanted || image.references.includes(wanted)) return true;
  if (/^[a-f0-9]{4,}$/.test(wanted) && image.id.includes(`:${wanted}`)) return true;
  try {
    const name = recordName(wanted);
    if (image.references.includes(name)) return true;
    const { locator } = parseReference(name);
    const bare = !/[:@]/.test(wanted.slice(wanted.lastIndexOf("/") + 1));
    return bare && image.references.some((r) => r.startsWith(`${locator}:`) || r.startsWith(`${locator}@`));
  } catch {
    return false;
  }
}
