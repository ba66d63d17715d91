/** Messages to bytes and back for all transports. */
import {
  create,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import { internal, messageOf } from "../core/errors.ts";
import { EncodedMessage } from "./types.ts";

/** An encoded message in parts that are written in order, and its length. */
export interface Encoded {
  readonly parts: readonly Uint8Array[];
  readonly length: number;
}

/** Encodes a message, its plain init form, or passes an {@link EncodedMessage} on. @throws internal */
export function encodeMessage<D extends DescMessage>(
  desc: D,
  value: MessageInitShape<D> | EncodedMessage,
): Encoded {
  if (value instanceof EncodedMessage) {
    let length = 0;
    for (const part of value.parts) length += part.length;
    return { parts: value.parts, length };
  }
  try {
    const bytes = toBinary(desc, create(desc, value));
    return { parts: [bytes], length: bytes.length };
  } catch (err) {
    throw internal(`encode message "${desc.typeName}": ${messageOf(err)}`, { cause: err });
  }
}

/** Decodes a message; byte fields are views of `bytes`. @throws internal when the bytes are no such message */
export function decodeMessage<D extends DescMessage>(desc: D, bytes: Uint8Array): MessageShape<D> {
  try {
    return fromBinary(desc, bytes);
  } catch (err) {
    throw internal(`decode message "${desc.typeName}": ${messageOf(err)}`, { cause: err });
  }
}
