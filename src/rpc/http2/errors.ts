/** Error codes of RFC 9113, section 7. */
export const H2Code = {
  NO_ERROR: 0,
  PROTOCOL_ERROR: 1,
  INTERNAL_ERROR: 2,
  FLOW_CONTROL_ERROR: 3,
  SETTINGS_TIMEOUT: 4,
  STREAM_CLOSED: 5,
  FRAME_SIZE_ERROR: 6,
  REFUSED_STREAM: 7,
  CANCEL: 8,
  COMPRESSION_ERROR: 9,
  CONNECT_ERROR: 10,
  ENHANCE_YOUR_CALM: 11,
  INADEQUATE_SECURITY: 12,
  HTTP_1_1_REQUIRED: 13,
} as const;

/** Number of an HTTP/2 error code. */
export type H2Code = (typeof H2Code)[keyof typeof H2Code];

const NAMES: ReadonlyMap<number, string> = new Map(Object.entries(H2Code).map(([name, n]) => [n, name]));

/** Name of an error code; `code 99` when it is not in the table. */
export function h2CodeName(code: number): string {
  return NAMES.get(code) ?? `code ${code}`;
}

/** The connection must end with GOAWAY and this code. */
export class H2ConnectionError extends Error {
  override readonly name = "H2ConnectionError";
  readonly h2code: number;
  constructor(h2code: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.h2code = h2code;
  }
}

/** One stream must end with RST_STREAM and this code; the connection goes on. */
export class H2StreamError extends Error {
  override readonly name = "H2StreamError";
  readonly streamId: number;
  readonly h2code: number;
  constructor(streamId: number, h2code: number, message: string) {
    super(message);
    this.streamId = streamId;
    this.h2code = h2code;
  }
}
