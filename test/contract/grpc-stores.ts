/** The daemon's stores reached as a client reaches them: services on a unix socket, the client folder in front. */
import { join } from "node:path";
import { containersClient } from "../../src/client/containers.ts";
import { contentClient } from "../../src/client/content.ts";
import { imagesClient } from "../../src/client/images.ts";
import { leasesClient } from "../../src/client/leases.ts";
import { namespacesClient } from "../../src/client/namespaces.ts";
import { sandboxesClient } from "../../src/client/sandbox.ts";
import { snapshotterClient } from "../../src/client/snapshots.ts";
import { createGrpcServer } from "../../src/rpc/grpc/server.ts";
import { createGrpcTransport } from "../../src/rpc/grpc/transport.ts";
import type { ServiceBinding } from "../../src/rpc/types.ts";
import { containersService } from "../../src/services/containers.ts";
import { contentService } from "../../src/services/content.ts";
import { imagesService } from "../../src/services/images.ts";
import { leasesService } from "../../src/services/leases.ts";
import { namespacesService } from "../../src/services/namespaces.ts";
import { sandboxStoreService } from "../../src/services/sandbox-store.ts";
import { snapshotsService } from "../../src/services/snapshots.ts";
import { type MakeStores, type Stores, tempFolder } from "./harness.ts";

/** Every service over the stores. */
function servicesOf(stores: Stores): ServiceBinding[] {
  return [
    namespacesService(stores.namespaces),
    containersService(stores.containers),
    sandboxStoreService(stores.sandboxes),
    imagesService(stores.images),
    leasesService(stores.leases),
    contentService(stores.content),
    snapshotsService((name) => stores.snapshotter(name)),
  ];
}

/** The same stores, each call over gRPC. */
export function overGrpc(make: MakeStores): MakeStores {
  return async (options) => {
    const stores = await make(options);
    const folder = await tempFolder();
    const path = join(folder.path, "s.sock");
    const server = createGrpcServer({ services: servicesOf(stores) });
    await server.listen({ path });
    const transport = createGrpcTransport({ path });
    let closed: Promise<void> | undefined;
    const close = async (): Promise<void> => {
      await transport.close();
      await server.close();
      await folder.remove();
    };
    return {
      namespaces: namespacesClient(transport),
      containers: containersClient(transport),
      sandboxes: sandboxesClient(transport),
      images: imagesClient(transport),
      leases: leasesClient(transport),
      content: contentClient(transport),
      snapshotter: (name) => snapshotterClient(transport, name),
      collect: () => stores.collect(),
      close: async () => {
        closed ??= close();
        await closed;
        await stores.close();
      },
    };
  };
}
