/** Small file trees for tests: steps that build one, and a listing to compare two. */
import {
  chmodSync,
  chownSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

/** Changes a tree below `root`. */
export type Step = (root: string) => void;

/** Writes a file with exactly this mode. */
export const file =
  (path: string, text: string, mode = 0o644): Step =>
  (root) => {
    writeFileSync(join(root, path), text);
    chmodSync(join(root, path), mode);
  };

/** Makes a directory with exactly this mode. */
export const dir =
  (path: string, mode = 0o755): Step =>
  (root) => {
    mkdirSync(join(root, path));
    chmodSync(join(root, path), mode);
  };

export const remove =
  (path: string): Step =>
  (root) =>
    rmSync(join(root, path), { recursive: true });

export const rename =
  (from: string, to: string): Step =>
  (root) =>
    renameSync(join(root, from), join(root, to));

export const link =
  (from: string, to: string): Step =>
  (root) =>
    linkSync(join(root, from), join(root, to));

export const chown =
  (path: string, uid: number, gid: number): Step =>
  (root) =>
    chownSync(join(root, path), uid, gid);

/** Every entry of a tree with type, mode, owner and content. */
export function listTree(root: string): string[] {
  const out: string[] = [];
  const visit = (path: string): void => {
    const stat = lstatSync(join(root, path));
    const what = stat.isDirectory()
      ? "dir"
      : stat.isSymbolicLink()
        ? `link ${readlinkSync(join(root, path))}`
        : `file ${readFileSync(join(root, path), "base64")}`;
    if (path !== "") out.push(`${path} ${(stat.mode & 0o7777).toString(8)} ${stat.uid}:${stat.gid} ${what}`);
    if (stat.isDirectory())
      for (const name of readdirSync(join(root, path)).toSorted()) visit(`${path}/${name}`);
  };
  visit("");
  return out;
}
