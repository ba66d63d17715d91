/** Writes a message as JSON or YAML; what that needs is loaded only then. */
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";

export async function writeMessage<D extends DescMessage>(
  schema: D,
  message: MessageShape<D>,
  format: "json" | "yaml",
): Promise<void> {
  const { messageJson, writeValue } = await import("./structured.ts");
  await writeValue(messageJson(schema, message), format);
}
