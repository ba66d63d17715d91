/** Order, names and filters of images. */
import type { Image } from "../../../api/gen/cri/runtime/v1/api_pb.ts";
import { invalidArgument } from "../../../core/errors.ts";
import { pattern } from "../pattern.ts";

const NONE = "<none>";

/** Name and digest of the first repository digest. */
export function nameAndDigest(image: Pick<Image, "repoDigests">): { name: string; digest: string } {
  const [first] = image.repoDigests;
  if (first === undefined) return { name: NONE, digest: NONE };
  const parts = first.split("@");
  return parts.length === 2
    ? { name: parts[0] ?? "", digest: parts[1] ?? "" }
    : { name: "errorName", digest: "errorRepoDigest" };
}

/** One row for each tag; an image without tags has one row, too. */
export function namesAndTags(image: Pick<Image, "repoTags">, name: string): (readonly [string, string])[] {
  if (image.repoTags.length === 0) return [[name, NONE]];
  return image.repoTags.map((tag) => {
    const at = tag.lastIndexOf(":");
    if (at < 0) return ["errorRepoTag", "errorRepoTag"] as const;
    const repo = tag.slice(0, at);
    return [repo === NONE ? name : repo, tag.slice(at + 1)] as const;
  });
}

/** By tag, else by digest, else by id. */
export function sortImages(images: readonly Image[]): Image[] {
  const order = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
  return [...images].sort((a, b) => {
    const [tagA, tagB] = [a.repoTags[0], b.repoTags[0]];
    if (tagA !== undefined && tagB !== undefined) return order(tagA, tagB);
    const [digestA, digestB] = [a.repoDigests[0], b.repoDigests[0]];
    if (digestA !== undefined && digestB !== undefined) return order(digestA, digestB);
    return order(a.id, b.id);
  });
}

/** Applies `--filter` flags one after the other. `before` and `since` go by the order of the list. @throws invalid-argument */
export function filterImages(images: readonly Image[], filters: readonly string[]): Image[] {
  let left = [...images];
  for (const filter of filters) {
    const at = filter.indexOf("=");
    const value = filter.slice(at + 1);
    switch (at < 0 ? filter : filter.slice(0, at)) {
      case "before":
        left = until(left.reverse(), value).reverse();
        break;
      case "since":
        left = until(left, value);
        break;
      case "dangling":
        if (value !== "true" && value !== "false")
          throw invalidArgument(`filter "${filter}": want true or false`);
        left = left.filter((image) => (image.repoTags.length === 0) === (value === "true"));
        break;
      case "reference": {
        const expression = pattern(value);
        left = left.filter(
          (image) =>
            expression.test(nameAndDigest(image).name) || image.repoTags.some((t) => expression.test(t)),
        );
        break;
      }
      default:
        throw invalidArgument(`unknown filter flag: ${filter}`, {
          hint: "filters are dangling=, reference=, before=, since=",
        });
    }
  }
  return left;
}

/** Images up to the one that is named: by name and tag, by digest, or by the start of its id. */
function until(images: readonly Image[], name: string): Image[] {
  const digest = name.includes("@");
  const tag = name.includes(":") && !digest;
  const end = images.findIndex((image) => {
    if (digest) return image.repoDigests.some((known) => known.startsWith(name));
    if (tag) return image.repoTags.includes(name) || image.id === name;
    return image.id.startsWith(name) || image.id.startsWith(`sha256:${name}`);
  });
  return end < 0 ? [...images] : images.slice(0, end);
}
