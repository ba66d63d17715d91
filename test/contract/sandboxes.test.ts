import { overGrpc } from "./grpc-stores.ts";
import { makeLocal } from "./local-stores.ts";
import { sandboxesSuite } from "./sandboxes.ts";

sandboxesSuite("local", makeLocal);
sandboxesSuite("over gRPC", overGrpc(makeLocal));
