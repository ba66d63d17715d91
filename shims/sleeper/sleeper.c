/*
 * What an idle shim turns itself into: a few hundred bytes that wait until something happens on the files of the shim, and
 * then become the shim's program again. Same process, so children, files, cgroup and scores stay what they are.
 *
 * image.ts puts these bytes into an ELF file in memory and fills the plan behind them. They run wherever they are put: all
 * addresses are relative, and those of the plan count from the start of the image.
 */
#if defined(__x86_64__)
enum { NR_read = 0, NR_mmap = 9, NR_munmap = 11, NR_rt_sigaction = 13, NR_nanosleep = 35, NR_recvfrom = 45, NR_prctl = 157,
       NR_waitid = 247, NR_ppoll = 271, NR_execveat = 322 };
static inline __attribute__((always_inline)) long call(long n, long a, long b, long c, long d, long e, long f) {
  long r;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(r)
                   : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return r;
}
__asm__(".section .text.start\n.globl _start\n_start:\n xorl %ebp, %ebp\n xorl %edi, %edi\n movq %rsp, %rsi\n andq $-16, %rsp\n call entry\n");
#elif defined(__aarch64__)
enum { NR_read = 63, NR_ppoll = 73, NR_waitid = 95, NR_nanosleep = 101, NR_rt_sigaction = 134, NR_prctl = 167, NR_recvfrom = 207,
       NR_munmap = 215, NR_mmap = 222, NR_execveat = 281 };
static inline __attribute__((always_inline)) long call(long n, long a, long b, long c, long d, long e, long f) {
  register long x8 __asm__("x8") = n;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc #0"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                   : "memory", "cc");
  return x0;
}
__asm__(".section .text.start\n.globl _start\n_start:\n mov x29, #0\n mov x30, #0\n mov x0, #0\n mov x1, sp\n bl entry\n");
#else
#error "amd64 and arm64 only"
#endif

/* Bytes that were written are to be run. */
static inline __attribute__((always_inline)) void publish(char *from, char *to) {
#if defined(__aarch64__)
  for (char *at = from; at < to; at += 16) __asm__ volatile("dc cvau, %0" : : "r"(at) : "memory");
  __asm__ volatile("dsb ish" : : : "memory");
  for (char *at = from; at < to; at += 16) __asm__ volatile("ic ivau, %0" : : "r"(at) : "memory");
  __asm__ volatile("dsb ish\n isb" : : : "memory");
#else
  (void)from;
  (void)to;
#endif
}

/* image.ts writes the same. Offsets are bytes from the start of the image. */
struct plan {
  unsigned long length;    /* of the whole image */
  unsigned long polls;     /* offset of struct pollfd[pollCount] */
  unsigned long pollCount;
  unsigned long argv;      /* offset of a list of offsets, ended by 0 */
  unsigned long envp;      /* the same */
  unsigned long name;      /* offset of the process's name */
  unsigned long exe;       /* fd of the program to become */
  unsigned long signals;   /* fd of the signals that wake */
  unsigned long digits;    /* offset of two characters, set to the number of the one that did */
};

enum {
  PROT_RWX = 7, MAP_PRIVATE_ANON = 0x22, PR_SET_NAME = 15, PR_SET_MM = 35, PR_SET_MM_EXE_FILE = 13, PR_SET_MM_MAP = 14,
  P_ALL = 0, WNOHANG_WEXITED_WNOWAIT = 1 | 4 | 0x1000000, AT_EMPTY_PATH = 0x1000, EINTR = 4, PAGE = 4096,
  SIG_INT = 2, SIG_USR1 = 10, SIG_TERM = 15, POLLRDHUP = 0x2000, MSG_PEEK_DONTWAIT = 0x2 | 0x40,
};

struct poll {
  int fd;
  short events, revents;
};

/* Linker: the first byte of the image, and where the plan begins. */
extern char image[] __attribute__((visibility("hidden")));
extern struct plan plan __attribute__((visibility("hidden")));
extern const char nothing[] __attribute__((visibility("hidden")));

static void addresses(char *base, unsigned long offset) {
  for (unsigned long *list = (unsigned long *)(base + offset); *list != 0; list++) *list += (unsigned long)base;
}

/* The kernel's struct prctl_mm_map: 11 addresses and the auxiliary vector (left as it is), then the file. */
struct map {
  unsigned long start_code, end_code, start_data, end_data, start_brk, brk, start_stack, arg_start, arg_end, env_start, env_end;
  unsigned long auxv;
  unsigned int auxv_size, exe;
};

/* Lets the process be called by the program it will be. Two ways, for two capabilities: SYS_RESOURCE, and SYS_ADMIN or
 * CHECKPOINT_RESTORE. Without either it just has another name. */
static inline __attribute__((always_inline)) void callByProgram(long *stack) {
  if (call(NR_prctl, PR_SET_MM, PR_SET_MM_EXE_FILE, plan.exe, 0, 0, 0) == 0) return;
  struct map map;
  char *words = (char *)stack[1];
  char *end = (char *)stack[stack[0]];
  while (*end++ != 0) {
  }
  map.start_code = map.start_data = (unsigned long)image;
  map.end_code = map.end_data = (unsigned long)image + plan.length;
  map.start_brk = map.brk = map.end_data + PAGE;
  map.start_stack = (unsigned long)stack;
  map.arg_start = (unsigned long)words;
  map.arg_end = map.env_start = map.env_end = (unsigned long)end;
  map.auxv = 0;
  map.auxv_size = 0;
  map.exe = (unsigned int)plan.exe;
  call(NR_prctl, PR_SET_MM, PR_SET_MM_MAP, (long)&map, sizeof map, 0, 0);
}

/* Whether something happened that counts. A connection (POLLRDHUP) that ended with nothing to be read is only let go of: with a
 * daemon that ends, those of all its shims do, and each of them has a new one to wake up for soon. */
static inline __attribute__((always_inline)) int happened(void) {
  struct poll *polls = (struct poll *)(image + plan.polls);
  int found = 0;
  char byte;
  for (unsigned long i = 0; i < plan.pollCount; i++) {
    if (polls[i].revents == 0) continue;
    if ((polls[i].events & POLLRDHUP) != 0 && call(NR_recvfrom, polls[i].fd, (long)&byte, 1, MSG_PEEK_DONTWAIT, 0, 0) == 0)
      polls[i].fd = -1;
    else
      found = 1;
  }
  return found;
}

/* `from` is where the image was, when it has moved; `stack` what the kernel put there: the number of words, the words. */
__attribute__((used)) void entry(char *from, long *stack) {
  if (from == 0) {
    /* Into memory of no file, so that the kernel lets the process be called by the program that it will be again: whoever
     * writes over that program while we sleep gets "text file busy", as with any program that runs. */
    unsigned long length = plan.length;
    char *to = (char *)call(NR_mmap, 0, length, PROT_RWX, MAP_PRIVATE_ANON, -1, 0);
    if ((unsigned long)to < -4095UL) {
      for (unsigned long i = 0; i < length / sizeof(long); i++) ((volatile long *)to)[i] = ((long *)image)[i];
      publish(to, to + length);
      void (*there)(char *, long *) = (void (*)(char *, long *))(to + ((char *)entry - image));
      there(image, stack);
    }
  } else {
    call(NR_munmap, (long)from, plan.length, 0, 0, 0, 0);
    callByProgram(stack);
  }
  addresses(image, plan.argv);
  addresses(image, plan.envp);
  call(NR_prctl, PR_SET_NAME, (long)(image + plan.name), 0, 0, 0, 0);
  for (;;) {
    /* A child that ended before its signal could be blocked for good. */
    int info[32];
    info[4] = 0;
    if (call(NR_waitid, P_ALL, 0, (long)info, WNOHANG_WEXITED_WNOWAIT, 0, 0) == 0 && info[4] != 0) break;
    long count = call(NR_ppoll, (long)(image + plan.polls), plan.pollCount, 0, 0, 8, 0);
    if (count != -EINTR && (count < 0 || happened())) break;
  }
  /* Which signal it was, if any. From here to where the program listens to them they are ignored: its event loop lets blocked
   * signals through, and what they do by themselves is to end it. */
  unsigned int signal[32];
  if (call(NR_read, plan.signals, (long)signal, sizeof signal, 0, 0, 0) > 0) {
    image[plan.digits] = '0' + signal[0] / 10;
    image[plan.digits + 1] = '0' + signal[0] % 10;
  }
  long ignore[4] = {1, 0, 0, 0};
  call(NR_rt_sigaction, SIG_INT, (long)ignore, 0, 8, 0, 0);
  call(NR_rt_sigaction, SIG_USR1, (long)ignore, 0, 8, 0, 0);
  call(NR_rt_sigaction, SIG_TERM, (long)ignore, 0, 8, 0, 0);
  for (;;) {
    call(NR_execveat, plan.exe, (long)nothing, (long)(image + plan.argv), (long)(image + plan.envp), AT_EMPTY_PATH, 0);
    /* Out of memory, say: the container must not lose its shim. */
    long pause[2] = {0, 100000000};
    call(NR_nanosleep, (long)pause, 0, 0, 0, 0, 0);
  }
}
