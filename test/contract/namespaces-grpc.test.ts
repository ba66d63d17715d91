import { overGrpc } from "./grpc-stores.ts";
import { makeLocal } from "./local-stores.ts";
import { namespacesSuite } from "./namespaces.ts";

namespacesSuite("over gRPC", overGrpc(makeLocal));
