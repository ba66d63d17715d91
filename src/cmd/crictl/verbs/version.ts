/** version. */
import { wrap } from "../../../core/errors.ts";
import type { Action } from "../command.ts";

export const version: Action = async (context) => {
  await using cri = context;
  const v = await (await cri.runtime()).version({ version: "v1" }, cri.options()).catch((err: unknown) => {
    throw wrap(err, "getting the runtime version");
  });
  process.stdout.write(
    `Version:  ${v.version}\nRuntimeName:  ${v.runtimeName}\nRuntimeVersion:  ${v.runtimeVersion}\nRuntimeApiVersion:  ${v.runtimeApiVersion}\n`,
  );
  return 0;
};
