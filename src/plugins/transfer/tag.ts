/** Tag: another name for an image. */
import type { NamespacedCall } from "../../core/call.ts";
import { invalidArgument, isAlreadyExists } from "../../core/errors.ts";
import type { Image } from "../../core/images/images.ts";
import type { TransferContext } from "./context.ts";

/**
 * Names what `source` names also `name`.
 * @throws not-found (source), already-exists unless `force`
 */
export async function tag(
  ctx: TransferContext,
  call: NamespacedCall,
  source: string,
  name: string,
  force: boolean,
): Promise<Image> {
  if (name === "") throw invalidArgument("tag: empty name");
  const { images } = ctx.stores;
  const from = await images.get(call, source);
  const input = { name, labels: from.labels, target: from.target };
  try {
    return await images.create(call, input);
  } catch (err) {
    if (!force || !isAlreadyExists(err)) throw err;
  }
  return images.update(call, input, ["target", "labels"]);
}
