import { notImplemented } from "../../../core/errors.ts";
import type { Action } from "../command.ts";

export const list: Action = async () => {
  throw notImplemented("this command is being built");
};
export const prune: Action = async () => {
  throw notImplemented("this command is being built");
};
export const remove: Action = async () => {
  throw notImplemented("this command is being built");
};
export const tag: Action = async () => {
  throw notImplemented("this command is being built");
};
export const label: Action = async () => {
  throw notImplemented("this command is being built");
};
export const usage: Action = async () => {
  throw notImplemented("this command is being built");
};
