/*
 * The process that holds a pod's namespaces. It sleeps, collects every child the kernel hands to it as process 1, and ends
 * with code 0 on TERM or INT. Signals are blocked and waited for, so no handler runs and none can be missed.
 */
#include "../common/kernel.h"

enum { SIG_INT = 2, SIG_TERM = 15, SIG_CHLD = 17, SIG_BLOCK = 0, WAIT_NOHANG = 1 };
#define BIT(signal) (1UL << ((signal) - 1))

__attribute__((used)) void entry(void) {
  unsigned long set = BIT(SIG_INT) | BIT(SIG_TERM) | BIT(SIG_CHLD);
  if (call4(NR_rt_sigprocmask, SIG_BLOCK, (long)&set, 0, sizeof set) < 0) leave(1);
  for (;;) {
    /* Children that ended before this point, or while another child's signal was pending. */
    while (call4(NR_wait4, -1, 0, WAIT_NOHANG, 0) > 0) {
    }
    long got = call4(NR_rt_sigtimedwait, (long)&set, 0, 0, sizeof set);
    if (got == SIG_INT || got == SIG_TERM) leave(0);
  }
}
