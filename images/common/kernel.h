/* The kernel calls the built-in images need, without a C library: amd64 and arm64. Numbers are those of the kernel's own ABI. */
#ifndef GANTRY_KERNEL_H
#define GANTRY_KERNEL_H

#if defined(__x86_64__)
enum { NR_write = 1, NR_rt_sigprocmask = 14, NR_getpid = 39, NR_wait4 = 61, NR_uname = 63, NR_getuid = 102,
       NR_rt_sigtimedwait = 128, NR_exit_group = 231 };
static inline long call4(long n, long a, long b, long c, long d) {
  long r;
  register long r10 __asm__("r10") = d;
  __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
  return r;
}
/* The kernel enters with an aligned stack and no return address: call the C part as a function would be called. */
__asm__(".globl _start\n_start:\n xorl %ebp, %ebp\n andq $-16, %rsp\n call entry\n hlt\n");
#elif defined(__aarch64__)
enum { NR_write = 64, NR_exit_group = 94, NR_rt_sigprocmask = 135, NR_rt_sigtimedwait = 137, NR_uname = 160,
       NR_getpid = 172, NR_getuid = 174, NR_wait4 = 260 };
static inline long call4(long n, long a, long b, long c, long d) {
  register long x8 __asm__("x8") = n;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  __asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory", "cc");
  return x0;
}
__asm__(".globl _start\n_start:\n mov x29, #0\n mov x30, #0\n bl entry\n brk #0\n");
#else
#error "amd64 and arm64 only"
#endif

static void leave(int code) {
  for (;;) call4(NR_exit_group, code, 0, 0, 0);
}

#endif
