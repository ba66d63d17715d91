import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { connect, createServer } from "node:tls";
import { selfSigned } from "./self-signed.ts";

test("a client that trusts it gets through, by name and by address", async () => {
  const { cert, key } = selfSigned(["localhost", "node.example", "127.0.0.1", "fd00::1"]);
  const parsed = new X509Certificate(cert);
  assert.equal(parsed.verify(parsed.publicKey), true);
  assert.match(parsed.subjectAltName ?? "", /DNS:node\.example/);
  assert.match(parsed.subjectAltName ?? "", /IP Address:127\.0\.0\.1/);
  assert.ok(new Date(parsed.validTo) > new Date() && new Date(parsed.validFrom) < new Date());
  const server = createServer({ cert, key }, (socket) => socket.end("hello"));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  for (const servername of ["localhost", "node.example"]) {
    const client = connect({ port, host: "127.0.0.1", ca: cert, servername });
    assert.equal(String((await once(client, "data"))[0]), "hello");
    client.destroy();
  }
  const stranger = connect({ port, host: "127.0.0.1", servername: "localhost" });
  await assert.rejects(once(stranger, "secureConnect"));
  stranger.destroy();
  server.close();
});

test("every certificate is another one", () => {
  const [one, two] = [selfSigned(["a"]), selfSigned(["a"])];
  assert.notEqual(new X509Certificate(one.cert).serialNumber, new X509Certificate(two.cert).serialNumber);
  assert.notEqual(one.key, two.key);
});
