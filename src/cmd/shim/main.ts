/** `containerd-shim-runc-v2`: the shim lives in shims/, this is only its mode. */
export { main } from "../../../shims/runc/main.ts";
