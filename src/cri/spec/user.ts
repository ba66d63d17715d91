/** Who a container runs as. */
import type { LinuxContainerSecurityContext } from "../../api/gen/cri/runtime/v1/api_pb.ts";
import { invalidArgument, notImplemented } from "../../core/errors.ts";
import type { User } from "../../oci/spec/types.ts";
import { resolveUser, type UserDatabase } from "../../oci/spec/users.ts";
import { GROUPS_POLICY } from "./constants.ts";

type Context = Pick<
  LinuxContainerSecurityContext,
  "runAsUser" | "runAsGroup" | "runAsUsername" | "supplementalGroups" | "supplementalGroupsPolicy"
>;

/** Ids in a spec are 32 bits, and -1 means "none" to the kernel. */
const MAX_GROUP = 0xffffffffn - 1n;

/**
 * The USER value of a request: `user[:group]` from the security context, else the image's, else "".
 * @throws invalid-argument for a group without a user
 */
export function userText(context: Partial<Context> | undefined, imageUser: string): string {
  const name = context?.runAsUsername ?? "";
  const user = name !== "" ? name : (context?.runAsUser?.value.toString() ?? "");
  const group = context?.runAsGroup?.value.toString() ?? "";
  if (user === "") {
    if (group !== "") throw invalidArgument(`user group "${group}" is specified without user`);
    return imageUser;
  }
  if (user.includes(":")) throw invalidArgument(`user "${user}": contains a colon`);
  return group === "" ? user : `${user}:${group}`;
}

/**
 * The user of a spec. Its groups are the primary one, those that the image's database gives to the user (policy Merge only),
 * and those of the request.
 * @throws invalid-argument, also for ids out of range (S18) and names the database lacks
 */
export function userOf(context: Partial<Context> | undefined, imageUser: string, db: UserDatabase): User {
  const text = userText(context, imageUser);
  const { uid, gid } = resolveUser(text === "" ? "0" : text, db);
  const policy: number = context?.supplementalGroupsPolicy ?? GROUPS_POLICY.merge;
  let members: readonly number[] = [];
  if (policy === GROUPS_POLICY.merge) {
    // the groups of the user, whatever primary group was asked for
    const [user = "0"] = text.split(":");
    members = resolveUser(user === "" ? "0" : user, db).additionalGids?.slice(1) ?? [];
  } else if (policy !== GROUPS_POLICY.strict) {
    throw notImplemented(`supplemental groups policy ${policy}`);
  }
  const asked = (context?.supplementalGroups ?? []).map((group) => {
    if (group < 0n || group > MAX_GROUP) throw invalidArgument(`supplemental group ${group}: out of range`);
    return Number(group);
  });
  const others = [...new Set([...members, ...asked])].filter((g) => g !== gid).sort((a, b) => a - b);
  return { uid, gid, additionalGids: [gid, ...others] };
}

/** Can the user be found without looking into the image? Then its groups need not be looked up either (policy Strict). */
export function needsDatabase(context: Partial<Context> | undefined, imageUser: string): boolean {
  const strict = (context?.supplementalGroupsPolicy as number | undefined) === GROUPS_POLICY.strict;
  return !strict || !/^\d+:\d+$/.test(userText(context, imageUser));
}
