import { notImplemented } from "../../../core/errors.ts";
import type { Action } from "../command.ts";

export const convert: Action = async () => {
  throw notImplemented("this command is being built");
};
