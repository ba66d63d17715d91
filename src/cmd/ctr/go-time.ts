/** Times as Go prints them by default: `2026-11-21 05:10:43.123456789 +0000 UTC`. */

import type { TimeNs } from "../../core/any.ts";
import { formatRfc3339 } from "../../lib/time.ts";

export function goTime(ns: TimeNs): string {
  const [date, rest = ""] = formatRfc3339(ns).split("T");
  return `${date} ${rest.replace(/Z$/, "")} +0000 UTC`;
}
