import { notImplemented } from "../../../core/errors.ts";
import type { Action } from "../command.ts";

export const commit: Action = async () => {
  throw notImplemented("this command is being built");
};
export const diff: Action = async () => {
  throw notImplemented("this command is being built");
};
export const info: Action = async () => {
  throw notImplemented("this command is being built");
};
export const list: Action = async () => {
  throw notImplemented("this command is being built");
};
export const mounts: Action = async () => {
  throw notImplemented("this command is being built");
};
export const prepare: Action = async () => {
  throw notImplemented("this command is being built");
};
export const remove: Action = async () => {
  throw notImplemented("this command is being built");
};
export const label: Action = async () => {
  throw notImplemented("this command is being built");
};
export const tree: Action = async () => {
  throw notImplemented("this command is being built");
};
export const unpack: Action = async () => {
  throw notImplemented("this command is being built");
};
export const usage: Action = async () => {
  throw notImplemented("this command is being built");
};
export const view: Action = async () => {
  throw notImplemented("this command is being built");
};
