import assert from "node:assert/strict";
import { test } from "node:test";
import { parseGroup, parsePasswd, resolveUser, splitUser } from "./users.ts";

const db = {
  passwd:
    "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n2147483648:x:0:0:::\nbad line\nneg:x:-1:0:::\nbig:x:4294967296:0:::\n",
  group: "root:x:0:\napp:x:1000:\nextra:x:1234:app,root\nwheel:x:10:root\n",
};

test("names and numbers resolve with the groups of the database, primary first (S19)", () => {
  assert.deepEqual(resolveUser("app", db), {
    uid: 1000,
    gid: 1000,
    additionalGids: [1000, 1234],
    home: "/home/app",
  });
  assert.deepEqual(resolveUser("1000", db).additionalGids, [1000, 1234]);
  assert.deepEqual(resolveUser("0", db).additionalGids, [0, 1234, 10]);
  assert.deepEqual(resolveUser("app:extra", db), {
    uid: 1000,
    gid: 1234,
    additionalGids: [1234],
    home: "/home/app",
  });
  assert.deepEqual(resolveUser("77:88", db), { uid: 77, gid: 88, additionalGids: [88], home: undefined });
  assert.equal(resolveUser("77", { passwd: undefined, group: undefined }).gid, 0);
});

test("hostile USER values never become root (S18)", () => {
  const bad = [
    "2147483648",
    "4294967296",
    "9".repeat(36),
    "-1",
    "0:9999999999",
    "",
    " ",
    "0x0",
    "1e0",
    "+0",
    "٠",
    "a:b:c",
    ":0",
    "0:",
    "nobody-here",
    "1000:nogroup",
    "0\0",
  ];
  for (const value of bad)
    assert.throws(() => resolveUser(value, db), /user|group|uid|gid/, JSON.stringify(value));
  assert.equal(resolveUser("00", db).uid, 0);
});

test("lines of the database with ids out of range are no users", () => {
  assert.deepEqual(
    parsePasswd(db.passwd).map((p) => p.name),
    ["root", "app", "2147483648"],
  );
  assert.throws(() => resolveUser("big", db), /no such user/);
  assert.equal(parseGroup("g:x:99999999999:a\n").length, 0);
});

test("splitUser keeps the parts", () => {
  assert.deepEqual(splitUser("a:b"), { user: "a", group: "b" });
  assert.deepEqual(splitUser("5"), { user: "5", group: undefined });
});
