import { gcSuite } from "./gc.ts";
import { overGrpc } from "./grpc-stores.ts";
import { makeLocal } from "./local-stores.ts";

gcSuite("over gRPC", overGrpc(makeLocal));
