import { DEFAULT_WINDOW, FrameType, numberFrame, PREFACE, Setting, settingsFrame } from "./frames.ts";
import type { SessionLimits } from "./limits.ts";

/** What a side sends first: the client's preface, its settings, and the rest of the connection's window. */
export function helloFrames(isServer: boolean, limits: SessionLimits): Uint8Array[] {
  const values: [number, number][] = [
    [Setting.INITIAL_WINDOW_SIZE, limits.streamWindow],
    [Setting.MAX_HEADER_LIST_SIZE, limits.maxHeaderList],
    isServer ? [Setting.MAX_CONCURRENT_STREAMS, limits.maxConcurrentStreams] : [Setting.ENABLE_PUSH, 0],
  ];
  return [
    ...(isServer ? [] : [PREFACE]),
    settingsFrame(values),
    numberFrame(FrameType.WINDOW_UPDATE, 0, 0, limits.connectionWindow - DEFAULT_WINDOW),
  ];
}
