/** Keeps secrets out of errors and logs (S16): signed URLs, userinfo, tokens, Authorization values. */

/** A URL without userinfo, query and fragment; `?...` shows that there was a query. */
export function maskUrl(url: URL | string): string {
  let u: URL;
  try {
    u = new URL(url);
  } catch {
    return maskText(String(url));
  }
  return `${u.protocol}//${u.host}${u.pathname}${u.search === "" ? "" : "?..."}`;
}

/** Text from a stranger or a library, fit to be shown: one line, printable, bounded, secrets replaced. */
export function maskText(text: string, max = 400): string {
  const clean = text
    .replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, " ")
    .replace(/\b(https?:\/\/)[^\s/"'@]+@/gi, "$1")
    .replace(/(\bhttps?:\/\/[^\s"'?]+)\?[^\s"')]*/gi, "$1?...")
    .replace(/\b(bearer|basic)\s+[A-Za-z0-9+/=_.~-]{6,}/gi, "$1 ***")
    .replace(
      /("?(?:access_|refresh_|identity|registry)?(?:token|password|secret|signature|sig|credential)"?\s*[=:]\s*"?)[^\s"&,}]+/gi,
      "$1***",
    );
  return clean.length > max ? `${clean.slice(0, max)}...` : clean;
}
