import { overGrpc } from "./grpc-stores.ts";
import { imagesSuite } from "./images.ts";
import { makeLocal } from "./local-stores.ts";

imagesSuite("over gRPC", overGrpc(makeLocal));
