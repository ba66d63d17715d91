/** Calls that this process has answered, all transports together: tells a quiet process from a busy one. */
export const activity: { calls: number } = { calls: 0 };
