import type {
  DescMessage,
  DescMethod,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { internal } from "../core/errors.ts";
import { tracedUnary } from "./client-span.ts";
import type { Client, ClientCallOptions, Transport } from "./types.ts";

type Method = DescMethod & { input: DescMessage; output: DescMessage };

/** A typed client of `service` over `transport`: one function per method, by its local name. */
export function createClient<S extends DescService>(service: S, transport: Transport): Client<S> {
  const client: Record<string, unknown> = {};
  for (const method of service.methods) client[method.localName] = methodOf(method, transport);
  return client as Client<S>;
}

function methodOf(method: Method, transport: Transport): unknown {
  switch (method.methodKind) {
    case "unary":
      return (request: MessageInitShape<DescMessage>, options?: ClientCallOptions) =>
        options?.span === undefined
          ? transport.unary(method, request, options)
          : tracedUnary(transport, method, request, options, options.span);
    case "server_streaming":
      return (request: MessageInitShape<DescMessage>, options?: ClientCallOptions) =>
        transport.stream(method, once(request), options);
    case "client_streaming":
      return (requests: AsyncIterable<MessageInitShape<DescMessage>>, options?: ClientCallOptions) =>
        only(method, transport.stream(method, requests, options));
    case "bidi_streaming":
      return (requests: AsyncIterable<MessageInitShape<DescMessage>>, options?: ClientCallOptions) =>
        transport.stream(method, requests, options);
  }
}

async function* once<T>(value: T): AsyncGenerator<T, void, undefined> {
  yield value;
}

async function only(
  method: DescMethod,
  responses: AsyncIterable<MessageShape<DescMessage>>,
): Promise<MessageShape<DescMessage>> {
  let found: MessageShape<DescMessage> | undefined;
  for await (const response of responses) {
    if (found !== undefined) throw internal(`call "${method.name}": more than one response`);
    found = response;
  }
  if (found === undefined) throw internal(`call "${method.name}": no response`);
  return found;
}
