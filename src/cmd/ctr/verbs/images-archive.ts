import { notImplemented } from "../../../core/errors.ts";
import type { Action } from "../command.ts";

export const exportImages: Action = async () => {
  throw notImplemented("this command is being built");
};
export const importImages: Action = async () => {
  throw notImplemented("this command is being built");
};
