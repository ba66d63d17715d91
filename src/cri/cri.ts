/** The pod domain of one daemon: what the services ask. */
import type { CriDeps } from "./deps.ts";
import type { CriImageService } from "./images/service.ts";
import { type NriHooks, noNriHooks } from "./nri/hooks.ts";
import { Creations } from "./store/creations.ts";
import { Records } from "./store/records.ts";
import { CriStore } from "./store/store.ts";

/** See the file's comment. */
export interface Cri {
  readonly deps: CriDeps;
  readonly store: CriStore;
  readonly records: Records;
  readonly podNames: Creations;
  readonly containerNames: Creations;
  readonly images: CriImageService;
  /** Set once, before anything is served. */
  nri: NriHooks;
}

/** Puts it together; nothing is read or started yet. */
export function createCri(deps: CriDeps, images: CriImageService): Cri {
  const records = new Records(deps);
  return {
    deps,
    records,
    store: new CriStore(deps.call, records, deps.log),
    podNames: new Creations("sandbox"),
    containerNames: new Creations("container"),
    images,
    nri: noNriHooks,
  };
}
