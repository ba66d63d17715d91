import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { describe, test } from "node:test";
import { HpackDecoder } from "./hpack-decoder.ts";
import { hpackEncode } from "./hpack-encoder.ts";

const hex = (text: string): Buffer => Buffer.from(text.replace(/\s/g, ""), "hex");
const pairs = (decoder: HpackDecoder, block: Uint8Array): string[] =>
  decoder.decode(block).map(({ name, value }) => `${name}: ${value}`);

describe("HPACK", () => {
  test("RFC 7541 C.3: three requests without Huffman", () => {
    const d = new HpackDecoder(1 << 16);
    assert.deepEqual(pairs(d, hex("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d")), [
      ":method: GET",
      ":scheme: http",
      ":path: /",
      ":authority: www.example.com",
    ]);
    assert.deepEqual(pairs(d, hex("8286 84be 5808 6e6f 2d63 6163 6865")).slice(3), [
      ":authority: www.example.com",
      "cache-control: no-cache",
    ]);
    assert.deepEqual(
      pairs(d, hex("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65")),
      [
        ":method: GET",
        ":scheme: https",
        ":path: /index.html",
        ":authority: www.example.com",
        "custom-key: custom-value",
      ],
    );
  });

  test("RFC 7541 C.4: the same with Huffman", () => {
    const d = new HpackDecoder(1 << 16);
    assert.deepEqual(pairs(d, hex("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff")).slice(3), [
      ":authority: www.example.com",
    ]);
    assert.deepEqual(pairs(d, hex("8286 84be 5886 a8eb 1064 9cbf")).slice(3), [
      ":authority: www.example.com",
      "cache-control: no-cache",
    ]);
    assert.deepEqual(pairs(d, hex("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf")).slice(4), [
      "custom-key: custom-value",
    ]);
  });

  test("RFC 7541 C.6: responses with eviction (table of 256)", () => {
    const d = new HpackDecoder(1 << 16);
    const first = hex(
      "3fe1 01 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
    );
    assert.deepEqual(pairs(d, first), [
      ":status: 302",
      "cache-control: private",
      "date: Mon, 21 Oct 2013 20:13:21 GMT",
      "location: https://www.example.com",
    ]);
    assert.deepEqual(pairs(d, hex("4883 640e ffc1 c0bf"))[0], ":status: 307");
    assert.throws(() => d.decode(hex("c2")), /not in the table/);
  });

  test("every byte survives our own encoder, and huffman for every byte is refused or exact", () => {
    const all = Array.from({ length: 256 }, (_, i) => String.fromCharCode(i)).join("");
    const d = new HpackDecoder(1 << 16);
    assert.deepEqual(d.decode(hpackEncode([["x-all", all]])), [{ name: "x-all", value: all }]);
    const long = "v".repeat(70_000 - 100);
    const big = new HpackDecoder(1 << 20);
    assert.equal(big.decode(hpackEncode([["x", long]]))[0]?.value.length, long.length);
  });

  test("limits: size updates, padding of strings, list size", () => {
    const d = new HpackDecoder(100);
    assert.throws(() => d.decode(hex("8220")), /after a field/);
    assert.throws(() => new HpackDecoder(100).decode(hex("3fe2 1f")), /over the limit/);
    // Padding that is zeros, and a whole byte of padding.
    assert.throws(() => new HpackDecoder(100).decode(hex("0081 00 00")), /huffman/);
    assert.throws(() => new HpackDecoder(100).decode(hex("0082 1fff 00")), /huffman/);
    const over = new HpackDecoder(100);
    assert.deepEqual(
      over.decode(
        hpackEncode([
          ["a", "b".repeat(50)],
          ["c", "d".repeat(50)],
        ]),
      ),
      [],
    );
    assert.equal(over.overflow, true);
    assert.equal(over.decode(hpackEncode([["a", "b"]])).length, 1);
    assert.equal(over.overflow, false);
  });
});
