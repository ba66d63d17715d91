import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { invalidArgument, notFound, unavailable, unknownError } from "../../core/errors.ts";
import { messageFor, nextStep } from "./explain.ts";

function thrown(work: () => unknown): unknown {
  try {
    work();
  } catch (err) {
    return err;
  }
  return undefined;
}

test("errors of the kernel are said as ours are: action, subject, reason", () => {
  assert.equal(
    messageFor(thrown(() => readFileSync("/no/such"))),
    'open "/no/such": no such file or directory',
  );
  assert.match(
    messageFor(thrown(() => readFileSync("/"))),
    /^read( "\/")?: illegal operation on a directory$/,
  );
  assert.equal(messageFor(notFound('image "x"')), 'image "x": not found');
  assert.equal(messageFor(new Error("plain")), "plain");
});

test("what an engine says without advice gets some, what has advice keeps it", () => {
  assert.match(nextStep(notFound('container "a" in namespace "default"')) ?? "", /ctr containers ls/);
  assert.match(
    nextStep(notFound('failed to delete container "a": container "a" in namespace "b"')) ?? "",
    /-n/,
  );
  assert.match(nextStep(notFound('image "docker.io/library/a:1"')) ?? "", /ctr images ls/);
  assert.match(
    nextStep(notFound('failed to remove "x": snapshot x does not exist')) ?? "",
    /ctr snapshots ls/,
  );
  assert.match(nextStep(notFound("snapshotter not loaded: nosuch")) ?? "", /ctr plugins ls/);
  assert.match(
    nextStep(
      unknownError('unpack layer: media type "application/vnd.erofs.layer.v1": no processor for media type'),
    ) ?? "",
    /--snapshotter erofs/,
  );
  assert.match(nextStep(unavailable('call to "/run/x.sock": connection closed')) ?? "", /systemctl status/);
  assert.equal(nextStep(invalidArgument("x", { hint: "mine" })), "mine");
  assert.equal(nextStep(unknownError("anything")), undefined);
});
