import { contentSuite } from "./content.ts";
import { overGrpc } from "./grpc-stores.ts";
import { makeLocal } from "./local-stores.ts";

contentSuite("over gRPC", overGrpc(makeLocal));
