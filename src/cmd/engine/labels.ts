/** Labels of containers made by `gantry run`: what the other commands read. */

/** Name that people use. */
export const NAME = "gantry.name";
/** The command as it was started, for lists. */
export const COMMAND = "gantry.command";
/** Published ports: `8080:80/tcp`, separated by commas. */
export const PORTS = "gantry.ports";
/** Network: a name, `host` or `none`. */
export const NETWORK = "gantry.network";
/** Standard label with the signal of the image's STOPSIGNAL. */
export const STOP_SIGNAL = "io.containerd.image.config.stop-signal";
