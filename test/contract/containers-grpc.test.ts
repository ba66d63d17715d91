import { containersSuite } from "./containers.ts";
import { overGrpc } from "./grpc-stores.ts";
import { makeLocal } from "./local-stores.ts";

containersSuite("over gRPC", overGrpc(makeLocal));
