import { notImplemented } from "../../../core/errors.ts";
import type { Action } from "../command.ts";

export const mount: Action = async () => {
  throw notImplemented("this command is being built");
};
export const unmount: Action = async () => {
  throw notImplemented("this command is being built");
};
