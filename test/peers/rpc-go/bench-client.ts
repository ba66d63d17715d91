/** Our client against any Peer server: `bench-client.ts grpc|ttrpc SOCKET`. Prints rates. */
import { createClient } from "../../../src/rpc/client.ts";
import { createGrpcTransport } from "../../../src/rpc/grpc/transport.ts";
import { createTtrpcTransport } from "../../../src/rpc/ttrpc/transport.ts";
import { CHUNK, Peer, type PeerClient } from "./peer-service.ts";

const [kind, path = ""] = process.argv.slice(2);
const transport = kind === "ttrpc" ? createTtrpcTransport({ path }) : createGrpcTransport({ path });
const client = createClient(Peer, transport) as unknown as PeerClient;

const small = CHUNK.subarray(0, 100);
for (const parallel of [1, 32]) {
  const until = performance.now() + 3000;
  let count = 0;
  const loop = async (): Promise<void> => {
    while (performance.now() < until) {
      await client.echo({ value: small });
      count++;
    }
  };
  await Promise.all(Array.from({ length: parallel }, loop));
  console.log(`unary @${parallel}: ${Math.round(count / 3)} rps`);
}

const rate = (bytes: number, start: number): string =>
  `${Math.round(bytes / 1e3 / (performance.now() - start))} MB/s`;

let start = performance.now();
let n = 0;
for await (const { value } of client.read({ value: 1n << 30n })) n += value.length;
console.log(`read 1 GiB: ${rate(n, start)}`);

start = performance.now();
n = 0;
let turn: (() => void) | undefined;
async function* ping(): AsyncGenerator<{ value: Uint8Array }> {
  for (let i = 0; i < 512; i++) {
    const answered = new Promise<void>((resolve) => {
      turn = resolve;
    });
    yield { value: CHUNK };
    await answered;
  }
}
for await (const { value } of client.chat(ping())) {
  n += value.length;
  turn?.();
}
console.log(`ping-pong 512 MiB: ${rate(n, start)}`);

start = performance.now();
async function* all(): AsyncGenerator<{ value: Uint8Array }> {
  for (let i = 0; i < 1024; i++) yield { value: CHUNK };
}
const sum = await client.write(all());
console.log(`write 1 GiB: ${rate(Number(sum.value), start)}`);
await transport.close();
