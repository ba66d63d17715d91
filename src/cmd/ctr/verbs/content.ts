import { notImplemented } from "../../../core/errors.ts";
import type { Action } from "../command.ts";

export const active: Action = async () => {
  throw notImplemented("this command is being built");
};
export const remove: Action = async () => {
  throw notImplemented("this command is being built");
};
export const edit: Action = async () => {
  throw notImplemented("this command is being built");
};
export const get: Action = async () => {
  throw notImplemented("this command is being built");
};
export const ingest: Action = async () => {
  throw notImplemented("this command is being built");
};
export const list: Action = async () => {
  throw notImplemented("this command is being built");
};
export const label: Action = async () => {
  throw notImplemented("this command is being built");
};
export const pruneReferences: Action = async () => {
  throw notImplemented("this command is being built");
};
