/** oci spec: the default spec. */

import { defaultDeviceRules, defaultSpec } from "../../../oci/spec/default.ts";
import { toExactJson } from "../../../oci/spec/json.ts";
import { linuxOf, resourcesOf } from "../../../oci/spec/options.ts";
import { toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";

export const spec: Action = async (context) => {
  const made = defaultSpec(context.namespace, "");
  linuxOf(made).cgroupsPath = `/${context.namespace}`;
  resourcesOf(made).devices = defaultDeviceRules() ?? [];
  toStdout(`${toExactJson(made, 4)}\n`);
  return 0;
};
