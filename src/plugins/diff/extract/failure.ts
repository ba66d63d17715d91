import {
  diskFull,
  type GantryError,
  internal,
  invalidArgument,
  permissionDenied,
  resourceExhausted,
} from "../../../core/errors.ts";
import { errnoName } from "../../../platform/syscalls/errors.ts";
import { ERRNO } from "../../../platform/syscalls/raw-fs.ts";

/** The typed error of a failed system call while unpacking: what a layer can cause is the layer's fault. */
export function fail(what: string, negativeErrno: number): GantryError {
  const message = `${what}: ${errnoName(negativeErrno)}`;
  switch (-negativeErrno) {
    case ERRNO.ENOSPC:
      return diskFull(what, "ENOSPC");
    case ERRNO.EDQUOT:
      return diskFull(what, "EDQUOT");
    case ERRNO.EMFILE:
    case ERRNO.ENOMEM:
      return resourceExhausted(message);
    case ERRNO.EROFS:
    case ERRNO.EACCES:
      return permissionDenied(message);
    case ERRNO.EIO:
    case ERRNO.EBADF:
    case ERRNO.ENOSYS:
      return internal(message);
    default:
      return invalidArgument(message);
  }
}
