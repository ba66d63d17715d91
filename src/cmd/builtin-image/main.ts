/** `gantry builtin-image NAME [ARCH]`: writes the archive of an image inside the executable to standard output. */
import { BUILTIN_IMAGES, builtinArchive } from "../../oci/builtin/images.ts";
import { report } from "../engine/report.ts";

const usage = `usage: gantry builtin-image NAME [ARCHITECTURE]

Writes the archive of an image that is part of this executable to standard output, for "ctr images import -".
names: ${Object.keys(BUILTIN_IMAGES).join(", ")}; architectures: amd64, arm64 (this machine's unless given)
`;

/** Runs the mode; resolves with the exit code. */
export async function main(args: string[]): Promise<number> {
  const [name, arch] = args;
  if (name === "--help" || name === "-h") {
    process.stdout.write(usage);
    return 0;
  }
  if (name === undefined) {
    process.stderr.write(usage);
    return 1;
  }
  if (process.stdout.isTTY) {
    process.stderr.write(
      "gantry builtin-image: standard output is a terminal; send it to a file or a pipe\n",
    );
    return 1;
  }
  try {
    process.stdout.write(await builtinArchive(name, arch));
    return 0;
  } catch (err) {
    return report(err);
  }
}
