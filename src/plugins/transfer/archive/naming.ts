/** Names of imported images. */
import type { Digest } from "../../../core/ids/digest.ts";
import { normalizeReference } from "../../../oci/reference.ts";

/** Annotation with the full image name. */
export const IMAGE_NAME = "io.containerd.image.name";
/** OCI annotation: full name or just a tag. */
export const REF_NAME = "org.opencontainers.image.ref.name";

/** How names are made. */
export interface Naming {
  /** Name for what the annotation says; "" = do not import under this name. */
  readonly name: (annotations: ReadonlyMap<string, string>) => string;
  /** Name by digest; undefined = none. */
  readonly digest?: ((digest: Digest, named: boolean) => string) | undefined;
}

/** Options of `ctr images import`. */
export interface NamingOptions {
  /** `--base-name`: completes bare tags and leaves out names of other repositories. */
  readonly baseName?: string | undefined;
  /** `--digests`: also name images `BASE@DIGEST`. */
  readonly digests?: boolean | undefined;
  /** `--skip-digest-for-named`. */
  readonly skipNamed?: boolean | undefined;
  /** Date of the default base name `import-YYYY-MM-DD`. */
  readonly today?: Date | undefined;
}

/** containerd's rules for import names. */
export function importNaming(o: NamingOptions): Naming {
  const filter = o.baseName !== undefined && o.baseName !== "";
  const base = filter ? (o.baseName ?? "") : `import-${(o.today ?? new Date()).toISOString().slice(0, 10)}`;
  return {
    name: (annotations) => nameFrom(annotations, (ref) => translate(ref, base, filter)),
    digest: o.digests ? (digest, named) => (named && o.skipNamed ? "" : `${base}@${digest}`) : undefined,
  };
}

/** The full name of an annotation set; bare references go through `translateRef`. */
export function nameFrom(
  annotations: ReadonlyMap<string, string>,
  translateRef: (ref: string) => string,
): string {
  const full = annotations.get(IMAGE_NAME);
  if (full !== undefined && full !== "") return full;
  const ref = annotations.get(REF_NAME);
  return ref === undefined || ref === "" ? "" : translateRef(ref);
}

/** A bare tag is put behind `base`; a full reference stays, or is left out when it does not belong to `base`. */
export function translate(ref: string, base: string, filter: boolean): string {
  if (!/[/:@]/.test(ref)) return `${base}:${ref}`;
  return filter && !belongsTo(ref, base) ? "" : ref;
}

/** True when `ref` is `base` with a tag or digest, or below it. */
export function belongsTo(ref: string, base: string): boolean {
  return ref.startsWith(base) && (ref.length === base.length || /[/:@]/.test(ref[base.length] ?? ""));
}

/** Full name of a RepoTag of docker save. Odd ones are taken as they are. */
export function dockerTagName(tag: string): string {
  try {
    return normalizeReference(tag);
  } catch {
    return tag;
  }
}
