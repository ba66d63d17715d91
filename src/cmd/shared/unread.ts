/** Exit code of a program whose output nobody reads, as shells have it for SIGPIPE. */
export const UNREAD_STATUS = 141;

/** Nobody reads this client's output; what runs goes on. Says nothing: there is nobody to tell. */
export class OutputUnread extends Error {
  override readonly name = "OutputUnread";
}
