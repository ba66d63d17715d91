import assert from "node:assert/strict";
import { test } from "node:test";
import { DEFAULT_HOST } from "../../oci/reference.ts";
import { requestCredentials } from "./request-auth.ts";

const request = { reference: "", challenges: [], signal: new AbortController().signal };
const ask = async (ref: string, auth: Record<string, unknown>, host: string): Promise<string | undefined> => {
  const found = await requestCredentials(ref, auth)?.(host, request);
  return found === undefined ? undefined : `${found.kind} ${"token" in found ? found.token : ""}`.trim();
};
const BASIC = { username: "u", password: "p" };

test("the registry of the reference gets them, in every form; its mirrors do not", async () => {
  assert.equal(await ask("r.test:5000/a:b", BASIC, "r.test:5000"), "basic");
  assert.equal(await ask("r.test:5000/a:b", BASIC, "mirror.test"), undefined);
  assert.equal(await ask("r.test/a:b", BASIC, "r.test:5000"), undefined);
  assert.equal(await ask("r.test/a:b", { identitytoken: "i" }, "r.test"), "refresh i");
  assert.equal(await ask("r.test/a:b", { registrytoken: "t" }, "r.test"), "bearer t");
  assert.equal(await ask("r.test/a:b", { auth: Buffer.from("u:p").toString("base64") }, "r.test"), "basic");
  assert.equal(requestCredentials("r.test/a:b", { username: "", password: "" }), undefined);
});

test("a server address has to name the registry of the reference, in any of its spellings", async () => {
  assert.equal(await ask("r.test/a:b", { ...BASIC, serveraddress: "https://r.test/v1/" }, "r.test"), "basic");
  assert.equal(await ask("r.test/a:b", { ...BASIC, serveraddress: "other.test" }, "r.test"), undefined);
  const [ref, api] = [`${DEFAULT_HOST}/library/a:b`, `registry-1.${DEFAULT_HOST}`];
  for (const serveraddress of [`https://index.${DEFAULT_HOST}/v1/`, DEFAULT_HOST, ""])
    assert.equal(await ask(ref, { ...BASIC, serveraddress }, api), "basic", serveraddress);
});
