/** events: follows the server's events. */

import { eventsClient } from "../../../client/events.ts";
import { isCanceled } from "../../../core/errors.ts";
import { toStdout } from "../../shared/output.ts";
import type { Action } from "../command.ts";
import { decodeEvent } from "../event-types.ts";
import { goTime } from "../go-time.ts";

export const events: Action = async (context, args) => {
  await using transport = context.connect();
  try {
    for await (const e of eventsClient(transport).subscribe(context.call(), args)) {
      const body = decodeEvent(e.event);
      toStdout(`${goTime(e.timestamp)} ${e.namespace} ${e.topic} ${body}\n`);
    }
  } catch (err) {
    // ctrl-c is how this command ends
    if (!isCanceled(err)) throw err;
  }
  return 0;
};
