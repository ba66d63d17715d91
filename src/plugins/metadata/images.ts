import type { SQLInputValue } from "node:sqlite";
import type { TimeNs } from "../../core/any.ts";
import type { NamespacedCall } from "../../core/call.ts";
import { alreadyExists, invalidArgument, messageOf, notFound, wrap } from "../../core/errors.ts";
import { checkFields, maskLabels, maskMap } from "../../core/fieldmask.ts";
import { adaptImage } from "../../core/filters/adaptors.ts";
import { compileFilters } from "../../core/filters/filter.ts";
import { EXPIRE } from "../../core/gc/labels.ts";
import { type Digest, parseDigest } from "../../core/ids/digest.ts";
import type { Image, ImageDeleteOptions, ImageInput, ImageStore } from "../../core/images/images.ts";
import { checkLabels, keptLabels } from "../../core/labels.ts";
import type { Descriptor, Platform } from "../../core/oci.ts";
import { nowNs } from "../../lib/time.ts";
import type { StoreContext } from "./context.ts";
import { encodeLabels, int, labels, type Row, text } from "./rows.ts";

const COLUMNS = "rowid, name, labels, media_type, digest, size, target, created, updated";

/** Images in the database. */
export class SqliteImageStore implements ImageStore {
  readonly #context: StoreContext;

  constructor(context: StoreContext) {
    this.#context = context;
  }

  async get(call: NamespacedCall, name: string): Promise<Image> {
    return this.#find(call, name);
  }

  async list(call: NamespacedCall, filters: readonly string[]): Promise<Image[]> {
    const match = compileFilters(filters);
    const { db } = this.#context;
    const rows = db.all(`SELECT ${COLUMNS} FROM images WHERE ns = ? ORDER BY name`, call.namespace);
    return db.decode("images", rows, toImage).filter((i) => match(adaptImage(i)));
  }

  async create(call: NamespacedCall, input: ImageInput, epoch?: TimeNs): Promise<Image> {
    check(input);
    const { db } = this.#context;
    const now = epoch ?? nowNs();
    const image: Image = { ...input, labels: keptLabels(input.labels), createdAt: now, updatedAt: now };
    await db.write(() => {
      this.#context.ensureNamespace(call.namespace);
      this.#attach(call, image);
      const { changes } = db.run(
        `INSERT OR IGNORE INTO images(ns, name, labels, media_type, digest, size, target, created, updated)
         VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)`,
        call.namespace,
        image.name,
        ...values(image),
      );
      if (changes === 0) throw alreadyExists(`image "${image.name}"`);
    });
    this.#context.publish(call, "/images/create", {
      name: image.name,
      labels: Object.fromEntries(image.labels),
    });
    this.#context.mutated("change");
    return image;
  }

  async update(
    call: NamespacedCall,
    input: ImageInput,
    fields: readonly string[],
    epoch?: TimeNs,
  ): Promise<Image> {
    if (input.name === "") throw invalidArgument("image name is required for update");
    checkFields(
      fields,
      ["labels", "target", "annotations"],
      ["labels.", "annotations."],
      `image "${input.name}"`,
    );
    const { db } = this.#context;
    const updated = await db.write(() => {
      const next = { ...merge(this.#find(call, input.name), input, fields), updatedAt: epoch ?? nowNs() };
      check(next);
      this.#attach(call, next);
      db.run(
        `UPDATE images SET labels = ?, media_type = ?, digest = ?, size = ?, target = ?, created = ?, updated = ?
         WHERE ns = ? AND name = ?`,
        ...values(next),
        call.namespace,
        next.name,
      );
      return next;
    });
    this.#context.publish(call, "/images/update", {
      name: updated.name,
      labels: Object.fromEntries(updated.labels),
    });
    // the old target may be garbage now
    this.#context.mutated("delete");
    return updated;
  }

  async delete(call: NamespacedCall, name: string, options: ImageDeleteOptions = {}): Promise<void> {
    const { db } = this.#context;
    await db.write(
      () => {
        if (options.target !== undefined) {
          const { digest } = this.#find(call, name).target;
          if (digest !== options.target)
            throw notFound(`image "${name}" has target ${digest}, not ${options.target}`);
        }
        const { changes } = db.run("DELETE FROM images WHERE ns = ? AND name = ?", call.namespace, name);
        if (changes === 0) throw notFound(`image "${name}"`);
        this.#context.detachLease(call, "images", name);
      },
      { frees: true },
    );
    this.#context.publish(call, "/images/delete", { name });
    this.#context.mutated("delete");
    if (options.sync === true) await this.#context.collect(call);
  }

  #find(call: NamespacedCall, name: string): Image {
    const { db } = this.#context;
    const row = db.get(`SELECT ${COLUMNS} FROM images WHERE ns = ? AND name = ?`, call.namespace, name);
    if (row === undefined) throw notFound(`image "${name}"`);
    return db.decodeOne("images", row, toImage);
  }

  /** Images are roots by themselves; only one that expires needs the lease to hold it. */
  #attach(call: NamespacedCall, image: Image): void {
    if (image.labels.has(EXPIRE)) this.#context.attachLease(call, "images", image.name);
    this.#context.touch("image", call.namespace, image.name);
  }
}

/** The part of a descriptor that has no column of its own. */
interface Rest {
  annotations?: Record<string, string>;
  urls?: readonly string[];
  platform?: Platform;
  data?: string;
}

function toImage(row: Row): Image {
  const rest = JSON.parse(text(row, "target")) as Rest;
  const target: Descriptor = {
    mediaType: text(row, "media_type"),
    digest: text(row, "digest") as Digest,
    size: int(row, "size"),
    ...(rest.annotations === undefined ? {} : { annotations: new Map(Object.entries(rest.annotations)) }),
    ...(rest.urls === undefined ? {} : { urls: rest.urls }),
    ...(rest.platform === undefined ? {} : { platform: rest.platform }),
    ...(rest.data === undefined ? {} : { data: new Uint8Array(Buffer.from(rest.data, "base64")) }),
  };
  return {
    name: text(row, "name"),
    labels: labels(row),
    target,
    createdAt: int(row, "created"),
    updatedAt: int(row, "updated"),
  };
}

/** Column values after ns and name. */
function values(image: Image): SQLInputValue[] {
  const { mediaType, digest, size, annotations, urls, platform, data } = image.target;
  const rest: Rest = {
    ...(annotations === undefined || annotations.size === 0
      ? {}
      : { annotations: Object.fromEntries(annotations) }),
    ...(urls === undefined || urls.length === 0 ? {} : { urls }),
    ...(platform === undefined ? {} : { platform }),
    ...(data === undefined ? {} : { data: Buffer.from(data).toString("base64") }),
  };
  return [
    encodeLabels(image.labels),
    mediaType,
    digest,
    size,
    JSON.stringify(rest),
    image.createdAt,
    image.updatedAt,
  ];
}

function merge(old: Image, input: ImageInput, fields: readonly string[]): Image {
  if (fields.length === 0) return { ...old, labels: new Map(input.labels), target: input.target };
  let target = fields.includes("target") ? input.target : old.target;
  const given = input.target.annotations ?? new Map<string, string>();
  const annotations = fields.includes("annotations")
    ? given
    : maskMap(target.annotations ?? new Map<string, string>(), given, fields, "annotations.");
  if (annotations.size > 0 || target.annotations !== undefined) target = { ...target, annotations };
  return { ...old, labels: maskLabels(old.labels, input.labels, fields), target };
}

function check(image: ImageInput): void {
  if (image.name === "") throw invalidArgument("image name must not be empty");
  try {
    checkLabels(image.labels);
  } catch (err) {
    throw wrap(err, "image.Labels");
  }
  try {
    parseDigest(image.target.digest);
  } catch (err) {
    throw invalidArgument(`target.Digest "${image.target.digest}" invalid: ${messageOf(err)}`);
  }
  if (image.target.size <= 0n) throw invalidArgument("target.Size must be greater than zero");
  if (image.target.mediaType === "") throw invalidArgument("target.MediaType must be set");
}
