import { overGrpc } from "./grpc-stores.ts";
import { leasesSuite } from "./leases.ts";
import { makeLocal } from "./local-stores.ts";

leasesSuite("over gRPC", overGrpc(makeLocal));
