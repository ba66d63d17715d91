/** Sources and destinations of transfers as clients send them. */
import { create, toBinary } from "@bufbuild/protobuf";
import type { Platform as WirePlatform } from "../../api/gen/containerd/types/platform_pb.ts";
import {
  ImageStoreSchema,
  type ImageStore as WireImageStore,
} from "../../api/gen/containerd/types/transfer/imagestore_pb.ts";
import {
  type ImageExportStream,
  ImageExportStreamSchema,
  type ImageImportStream,
  ImageImportStreamSchema,
} from "../../api/gen/containerd/types/transfer/importexport_pb.ts";
import {
  AuthRequestSchema,
  AuthResponseSchema,
  AuthType,
  type OCIRegistry,
  OCIRegistrySchema,
} from "../../api/gen/containerd/types/transfer/registry_pb.ts";
import { unpackAny } from "../../api/typeurl.ts";
import type { AnyValue } from "../../core/any.ts";
import { invalidArgument } from "../../core/errors.ts";
import type { AnyStream } from "../../core/streaming/streaming.ts";
import { Semaphore } from "../../lib/semaphore.ts";
import { matchAny, matchOrdered, normalizePlatform, type PlatformMatcher } from "../../oci/platform.ts";
import type { CredentialSource, Credentials } from "../../registry/types.ts";
import { decodeAny } from "../../rpc/convert/basic.ts";
import { belongsTo, IMAGE_NAME, type Naming, nameFrom, REF_NAME, translate } from "./archive/naming.ts";
import type { UnpackTarget } from "./pull.ts";

/** A source or destination. */
export type Endpoint =
  | { readonly kind: "registry"; readonly value: OCIRegistry }
  | { readonly kind: "store"; readonly value: WireImageStore }
  | { readonly kind: "import"; readonly value: ImageImportStream }
  | { readonly kind: "export"; readonly value: ImageExportStream };

/** Decodes an endpoint; undefined for types that are not offered. @throws invalid-argument on broken bytes */
export function decodeEndpoint(any: AnyValue): Endpoint | undefined {
  try {
    const registry = unpackAny(any, OCIRegistrySchema);
    if (registry !== undefined) return { kind: "registry", value: registry };
    const store = unpackAny(any, ImageStoreSchema);
    if (store !== undefined) return { kind: "store", value: store };
    const imported = unpackAny(any, ImageImportStreamSchema);
    if (imported !== undefined) return { kind: "import", value: imported };
    const exported = unpackAny(any, ImageExportStreamSchema);
    if (exported !== undefined) return { kind: "export", value: exported };
    return undefined;
  } catch (err) {
    throw invalidArgument(`decode ${any.typeUrl}: broken message`, { cause: err });
  }
}

function toPlatform(p: WirePlatform): { os: string; architecture: string; variant?: string } {
  return {
    os: p.os,
    architecture: p.architecture,
    ...(p.variant === "" ? {} : { variant: p.variant }),
  };
}

/** A matcher for exactly these platforms, earlier ones better; undefined for none. */
export function matcherOf(platforms: readonly WirePlatform[]): PlatformMatcher | undefined {
  return platforms.length === 0
    ? undefined
    : matchOrdered(platforms.map((p) => normalizePlatform(toPlatform(p))));
}

/** What a store endpoint wants unpacked. */
export function unpacksOf(store: WireImageStore, fallback: string): UnpackTarget[] {
  return store.unpacks.map((u) => ({
    snapshotter: u.snapshotter === "" ? fallback : u.snapshotter,
    matcher:
      u.platform === undefined || u.platform.os === "" ? undefined : matchAny([toPlatform(u.platform)]),
  }));
}

/** Import names by the references of a store endpoint. */
export function namingOf(store: WireImageStore): Naming {
  const refs = store.extraReferences;
  return {
    name(annotations) {
      const full = annotations.get(IMAGE_NAME) ?? annotations.get(REF_NAME) ?? "";
      if (full === "") return "";
      if (refs.length === 0) return nameFrom(annotations, (ref) => (/[/:@]/.test(ref) ? ref : ""));
      for (const ref of refs) {
        const name = nameFrom(annotations, (bare) =>
          ref.isPrefix ? translate(bare, ref.name, false) : bare,
        );
        if (ref.allowOverwrite || (ref.isPrefix ? belongsTo(name, ref.name) : name === ref.name)) return name;
      }
      return "";
    },
    digest(digest, named) {
      const ref = refs.find((r) => r.isPrefix && r.addDigest);
      return ref === undefined || (named && ref.skipNamedDigest) ? "" : `${ref.name}@${digest}`;
    },
  };
}

/** Credentials asked for on a client's auth stream: one question at a time, each host once. */
export function streamCredentials(stream: AnyStream, reference: string): CredentialSource {
  const turn = new Semaphore(1);
  const known = new Map<string, Credentials | undefined>();
  return async (host, { challenges, signal }) => {
    using _turn = await turn.acquire(signal);
    if (known.has(host)) return known.get(host);
    const request = create(AuthRequestSchema, { host, reference, wwwauthenticate: [...challenges] });
    await stream.send({ typeUrl: AuthRequestSchema.typeName, value: toBinary(AuthRequestSchema, request) });
    const answer = await stream.receive(signal);
    const credentials = answer === undefined ? undefined : decodeCredentials(answer);
    known.set(host, credentials);
    return credentials;
  };
}

function decodeCredentials(any: AnyValue): Credentials | undefined {
  const answer = decodeAny(AuthResponseSchema, any, "answer with credentials");
  switch (answer.authType) {
    case AuthType.CREDENTIALS:
      return answer.username === ""
        ? { kind: "refresh", token: answer.secret }
        : { kind: "basic", username: answer.username, password: answer.secret };
    case AuthType.REFRESH:
      return { kind: "refresh", token: answer.secret };
    case AuthType.HEADER:
      return { kind: "header", value: answer.secret };
    default:
      return undefined;
  }
}
