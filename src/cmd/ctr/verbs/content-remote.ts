import { notImplemented } from "../../../core/errors.ts";
import type { Action } from "../command.ts";

export const fetch: Action = async () => {
  throw notImplemented("this command is being built");
};
export const fetchObject: Action = async () => {
  throw notImplemented("this command is being built");
};
export const fetchBlob: Action = async () => {
  throw notImplemented("this command is being built");
};
export const pushObject: Action = async () => {
  throw notImplemented("this command is being built");
};
