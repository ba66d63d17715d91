/**
 * The images inside the executable, so that a pod starts and the installer proves itself without any registry. Each is one
 * archive that `ctr images import` takes (OCI layout plus Docker's manifest.json), for linux on amd64 and arm64. Their
 * programs are in images/, the modules beside this file are made by scripts/build-images.ts.
 */
import { notFound } from "../../core/errors.ts";

/** Short names of the built-in images. */
export type BuiltinImageName = "hello" | "pause";

/** Full names the images are stored under. */
export const BUILTIN_IMAGES: Readonly<Record<BuiltinImageName, string>> = {
  hello: "gantry.local/hello:latest",
  pause: "gantry.local/pause:latest",
};

type Loader = () => Promise<{ readonly archive: readonly string[] }>;

/** Literal imports: only these are bundled, and each is loaded when it is asked for. */
const ARCHIVES: Readonly<Record<string, Loader>> = {
  "hello-amd64": () => import("./hello-amd64.ts"),
  "hello-arm64": () => import("./hello-arm64.ts"),
  "pause-amd64": () => import("./pause-amd64.ts"),
  "pause-arm64": () => import("./pause-arm64.ts"),
};

/**
 * The archive of a built-in image, as tar bytes.
 *
 * @param name "hello" or "pause".
 * @param arch OCI architecture; the running process's own unless given.
 * @throws not-found when there is no such image or none for the architecture.
 */
export async function builtinArchive(name: string, arch: string = ociArch()): Promise<Uint8Array> {
  const load = ARCHIVES[`${name}-${arch}`];
  if (load === undefined) {
    throw notFound(`built-in image "${name}" for ${arch}`, {
      hint: "there are hello and pause, for amd64 and arm64",
    });
  }
  const { archive } = await load();
  // not loaded where no image is wanted
  const { gunzipSync } = process.getBuiltinModule("node:zlib");
  return gunzipSync(Buffer.from(archive.join(""), "base64"));
}

/** The OCI name of the architecture this process runs on. */
function ociArch(): string {
  return process.arch === "x64" ? "amd64" : process.arch;
}
