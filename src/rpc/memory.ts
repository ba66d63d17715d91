/** A transport without sockets: calls go straight to handlers. For unit tests of clients and services. */
import type { DescMessage, DescMethod, Message, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { abortError, background, Call } from "../core/call.ts";
import { canceled, deadlineExceeded, internal } from "../core/errors.ts";
import { concatBytes } from "../lib/bytes.ts";
import { decodeMessage, encodeMessage } from "./codec.ts";
import { Router, runRoute, ServerContext } from "./dispatch.ts";
import { identityFromHeaders } from "./headers.ts";
import { MessageQueue } from "./message-queue.ts";
import { pumpRequests } from "./pump-requests.ts";
import { fromStatus, toStatus } from "./status.ts";
import type { ClientCallOptions, ServerOptions, Transport } from "./types.ts";

/**
 * Makes a transport onto the given services. Messages are encoded and decoded, errors travel as statuses, headers,
 * deadline and cancellation work; limits and flow control are not imitated.
 */
export function createMemoryTransport(options: ServerOptions): Transport {
  const router = new Router(options.services);
  const base = options.call ?? background;

  const stream = <I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { input: I; output: O },
    requests: AsyncIterable<MessageInitShape<I>>,
    call: ClientCallOptions = {},
  ): MessageQueue<MessageShape<O>> => {
    const abort = new AbortController();
    const responses = new MessageQueue<MessageShape<O>>(
      (bytes) => decodeMessage(method.output, bytes),
      () => {},
      () => abort.abort(canceled("context canceled")),
    );
    const finish = (error: unknown): void => {
      const status = toStatus(error);
      if (!abort.signal.aborted) abort.abort(error);
      responses.endWith(fromStatus(status.code, status.message, status.details, status.hint));
    };
    const run = async (): Promise<void> => {
      const headers = call.headers ?? new Map();
      const path = `/${method.parent.typeName}/${method.name}`;
      const route = router.find(path);
      const context = new ServerContext({
        call: new Call({
          ...identityFromHeaders(headers),
          deadline: call.timeoutMs === undefined ? base.deadline : performance.now() + call.timeoutMs,
          signal: abort.signal,
          log: base.log,
        }),
        headers,
        method: path,
      });
      const inputs = new MessageQueue<Message>((bytes) => decodeMessage(method.input, bytes));
      const pumping = pumpRequests(requests, abort.signal, (value) => {
        inputs.push(joined(method.input, value), 0);
        return undefined;
      }).then(
        () => inputs.end(),
        (err: unknown) => inputs.fail(err),
      );
      abort.signal.addEventListener("abort", () => inputs.fail(abort.signal.reason), { once: true });
      let input: Message | AsyncIterable<Message> = inputs;
      if (route.takesOne) {
        await pumping;
        const first = await inputs.next();
        if (first.done === true) throw internal("the request has no message");
        input = first.value;
      }
      await runRoute(
        route,
        context,
        input,
        (message) => {
          responses.push(concatBytes(message.parts), message.length);
          return undefined;
        },
        options.interceptors ?? [],
      );
      call.onTrailer?.(context.trailers);
      responses.end();
      abort.abort(canceled("context canceled"));
    };
    const { signal, timeoutMs } = call;
    if (signal?.aborted === true) finish(abortError(signal));
    else {
      const onAbort = (): void => {
        if (signal !== undefined) finish(abortError(signal));
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      const timer =
        timeoutMs === undefined
          ? undefined
          : setTimeout(() => finish(deadlineExceeded("context deadline exceeded")), timeoutMs);
      run()
        .catch(finish)
        .finally(() => {
          clearTimeout(timer);
          signal?.removeEventListener("abort", onAbort);
        });
    }
    return responses;
  };

  return {
    async unary<I extends DescMessage, O extends DescMessage>(
      method: DescMethod & { input: I; output: O },
      request: MessageInitShape<I>,
      call?: ClientCallOptions,
    ): Promise<MessageShape<O>> {
      const response = await stream(method, once(request), call).next();
      if (response.done === true) throw internal(`call "${method.name}": no response`);
      return response.value;
    },
    stream,
    async close() {},
    async [Symbol.asyncDispose]() {},
  };
}

async function* once<T>(value: T): AsyncGenerator<T, void, undefined> {
  yield value;
}

function joined<D extends DescMessage>(desc: D, value: MessageInitShape<D>): Uint8Array {
  return concatBytes(encodeMessage(desc, value).parts);
}
