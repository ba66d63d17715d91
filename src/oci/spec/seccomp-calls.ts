/**
 * System calls by what they are for. A container may make all of them except those that need a capability it does not have.
 * What is absent is refused: io_uring_*, userfaultfd, add_key, keyctl, request_key, kexec_*, swapon, nfsservctl, uselib, ...
 * Names that a kernel or libseccomp does not know are passed over by the OCI runtimes.
 */

const words = (text: string): string[] => text.trim().split(/\s+/);

/** A name and its twin for 64-bit times on 32-bit machines. */
const withTime64 = (text: string): string[] => words(text).flatMap((name) => [name, `${name}_time64`]);

/** A name and its twin for 32-bit ids on machines that began with 16-bit ones. */
const withIds32 = (text: string): string[] => words(text).flatMap((name) => [name, `${name}32`]);

/** A name and its twin for large files or times on 32-bit machines. */
const with64 = (text: string): string[] => words(text).flatMap((name) => [name, `${name}64`]);

/** Calls that every container may make, by area. */
export const COMMON_CALLS: Readonly<Record<string, readonly string[]>> = {
  openAndClose: words(`open openat openat2 creat close close_range dup dup2 dup3 fcntl fcntl64 flock ioctl
    memfd_create memfd_secret name_to_handle_at pipe pipe2`),
  readAndWrite: words(`read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek _llseek
    copy_file_range readahead splice tee vmsplice fadvise64 fadvise64_64 fallocate sync syncfs fsync fdatasync
    sync_file_range io_setup io_submit io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64`).concat(
    with64("sendfile truncate ftruncate"),
  ),
  metadata:
    words(`access faccessat faccessat2 chmod fchmod fchmodat fchmodat2 fchownat statx newfstatat fstatat64
    statmount listmount utime utimes futimesat utimensat utimensat_time64 umask`).concat(
      with64("stat lstat fstat statfs fstatfs"),
      withIds32("chown fchown lchown"),
    ),
  attributes: ["get", "set", "list", "remove"].flatMap((verb) => [
    `${verb}xattr`,
    `l${verb}xattr`,
    `f${verb}xattr`,
    `${verb}xattrat`,
  ]),
  names:
    words(`chdir fchdir getcwd getdents getdents64 link linkat symlink symlinkat readlink readlinkat mkdir mkdirat
    mknod mknodat rename renameat renameat2 rmdir unlink unlinkat`),
  watching: words(`inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark`),
  waiting:
    words(`poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1 epoll_ctl
    epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4 pause`),
  memory:
    words(`brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock munlockall
    membarrier mseal map_shadow_stack pkey_alloc pkey_free pkey_mprotect remap_file_pages process_mrelease cachestat`),
  processes:
    words(`fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid getpgid getpgrp
    setpgid getsid setsid getpriority setpriority prctl prlimit64 getrlimit ugetrlimit setrlimit getrusage times
    pidfd_open pidfd_send_signal ioprio_get ioprio_set getcpu restart_syscall rseq set_tid_address get_thread_area
    set_thread_area get_robust_list set_robust_list uretprobe`),
  futexes: words("futex futex_time64 futex_wait futex_waitv futex_wake futex_requeue"),
  scheduling:
    words(`sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam
    sched_setparam sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min`).concat(
      withTime64("sched_rr_get_interval"),
    ),
  signals:
    words(`kill tkill tgkill sigaltstack sigprocmask sigreturn rt_sigaction rt_sigpending rt_sigprocmask
    rt_sigqueueinfo rt_tgsigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64`),
  ids: withIds32(`getuid geteuid getgid getegid getgroups setgroups getresuid getresgid setuid setgid setreuid setregid
    setresuid setresgid setfsuid setfsgid`),
  security: words(`capget capset seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self`),
  time: words(`time gettimeofday nanosleep alarm getitimer setitimer adjtimex clock_adjtime clock_adjtime64
    clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64
    timer_create timer_delete timer_getoverrun timerfd_create`).concat(
    with64("timer_gettime timer_settime timerfd_gettime timerfd_settime"),
  ),
  // socket itself has rules of its own; socketcall hides its arguments from filters (see seccomp.ts)
  sockets:
    words(`accept accept4 bind connect listen shutdown socketcall socketpair getsockname getpeername getsockopt
    setsockopt send sendto sendmsg sendmmsg recv recvfrom recvmsg`).concat(withTime64("recvmmsg")),
  ipc: words(`ipc msgctl msgget msgrcv msgsnd semctl semget semop shmat shmctl shmdt shmget mq_open mq_unlink mq_notify
    mq_getsetattr`).concat(withTime64("semtimedop mq_timedreceive mq_timedsend")),
  system: words("uname sysinfo getrandom"),
};

/** Calls that a capability opens. */
export const CAPABILITY_CALLS: Readonly<Record<string, readonly string[]>> = {
  CAP_DAC_READ_SEARCH: ["open_by_handle_at"],
  CAP_SYS_ADMIN:
    words(`bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr
    move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2
    unshare`),
  CAP_SYS_BOOT: ["reboot"],
  CAP_SYS_CHROOT: ["chroot"],
  CAP_SYS_MODULE: words("init_module finit_module delete_module"),
  CAP_SYS_PACCT: ["acct"],
  CAP_SYS_PTRACE: words("kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
  CAP_SYS_RAWIO: words("iopl ioperm"),
  CAP_SYS_TIME: words("settimeofday stime clock_settime clock_settime64"),
  CAP_SYS_TTY_CONFIG: ["vhangup"],
  CAP_SYS_NICE: words("get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
  CAP_SYSLOG: ["syslog"],
  CAP_BPF: ["bpf"],
  CAP_PERFMON: ["perf_event_open"],
};

/** Tracing within one's own rights: safe since Linux 4.8, where a tracer can no longer slip past a filter. */
export const TRACING_CALLS: readonly string[] = words("ptrace process_vm_readv process_vm_writev");

/** What machines of a kind need besides, and the names seccomp has for them. */
export const MACHINES: Readonly<
  Record<string, { readonly architectures: readonly string[]; readonly calls: readonly string[] }>
> = {
  x64: {
    architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    calls: ["arch_prctl", "modify_ldt"],
  },
  arm64: {
    architectures: ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"],
    calls: words("arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"),
  },
  riscv64: { architectures: ["SCMP_ARCH_RISCV64"], calls: ["riscv_flush_icache"] },
  ppc64: { architectures: ["SCMP_ARCH_PPC64LE"], calls: ["sync_file_range2", "swapcontext"] },
};
