/** The image of the pods' own process: pulled like every other image, or the one inside the executable. */
import type { NamespacedCall } from "../../core/call.ts";
import { isNotFound, messageOf } from "../../core/errors.ts";
import { SingleFlight } from "../../lib/single-flight.ts";
import { BUILTIN_IMAGES, builtinArchive } from "../../oci/builtin/images.ts";
import type { CriDeps } from "../deps.ts";
import type { CriImageService } from "../images/service.ts";
import type { CriImage } from "../model.ts";

/** The resolved image with the name it was found under. */
export interface PauseImage {
  readonly name: string;
  readonly image: CriImage;
}

const LABELS: ReadonlyMap<string, string> = new Map([
  ["io.cri-containerd.image", "managed"],
  ["io.cri-containerd.pinned", "pinned"],
]);

/** See the file's comment. */
export class PauseImages {
  readonly #deps: Pick<CriDeps, "imagesConfig" | "transfer" | "log">;
  readonly #images: CriImageService;
  readonly #ready = new Map<string, PauseImage>();
  readonly #flights = new SingleFlight<string, PauseImage>();

  constructor(deps: Pick<CriDeps, "imagesConfig" | "transfer" | "log">, images: CriImageService) {
    this.#deps = deps;
    this.#images = images;
  }

  /** Unpacked in `snapshotter`. @param pull may be pulled when it is not there */
  async get(call: NamespacedCall, snapshotter: string, pull: boolean): Promise<PauseImage> {
    return (
      this.#ready.get(snapshotter) ??
      (await this.#flights.run(snapshotter, () => this.#find(call, snapshotter, pull)))
    );
  }

  /** Forgets what was found: its layers are gone. */
  forget(snapshotter: string): void {
    this.#ready.delete(snapshotter);
  }

  async #find(call: NamespacedCall, snapshotter: string, pull: boolean): Promise<PauseImage> {
    const wanted = this.#deps.imagesConfig.sandboxImage;
    const found =
      wanted === BUILTIN_IMAGES.pause
        ? await this.#builtin(call, snapshotter)
        : await this.#wanted(call, wanted, snapshotter, pull).catch(async (err: unknown) => {
            this.#deps.log.warn("sandbox image cannot be had: pods run with the built-in one", {
              image: wanted,
              err: messageOf(err),
            });
            return undefined;
          });
    // not remembered when it is only a substitute: the next pod tries the wanted one again
    if (found === undefined) return await this.#builtin(call, snapshotter);
    this.#ready.set(snapshotter, found);
    return found;
  }

  async #wanted(
    call: NamespacedCall,
    name: string,
    snapshotter: string,
    pull: boolean,
  ): Promise<PauseImage | undefined> {
    try {
      const image = await this.#images.resolve(call, name);
      await this.#images.unpack(call, image, snapshotter);
      return { name, image };
    } catch (err) {
      if (!isNotFound(err) || !pull) throw err;
    }
    return { name, image: await this.#images.pull(call, name, snapshotter) };
  }

  async #builtin(call: NamespacedCall, snapshotter: string): Promise<PauseImage> {
    const name = BUILTIN_IMAGES.pause;
    const known = await this.#images.resolve(call, name).catch((err: unknown) => {
      if (isNotFound(err)) return undefined;
      throw err;
    });
    if (known !== undefined) {
      await this.#images.unpack(call, known, snapshotter);
      return { name, image: known };
    }
    const archive = await builtinArchive("pause");
    const stream = async function* (): AsyncGenerator<Uint8Array> {
      yield archive;
    };
    await this.#deps.transfer.importArchive(call, stream(), { labels: LABELS, snapshotter });
    await this.#images.update(name, true);
    return { name, image: await this.#images.resolve(call, name) };
  }
}
