/*
 * A slow device for a process that was not told of one: preloaded (LD_PRELOAD) it sleeps before every read, write and sync
 * of a file below one directory, and says that the directory lies on a device of its own. One chosen call fails with EIO
 * instead, and does nothing, or all calls of a kind do. Everything else passes through.
 *
 * A directory `device-0` to `device-9` inside it is another device again, and one of those can be made sick alone.
 *
 *   ORDERMINT_SLOW_DIR      the directory, as the kernel spells it (no symbolic links)
 *   ORDERMINT_SLOW_CONTROL  a file of at least 4,096 bytes, mapped here and written to from outside; see `struct control`
 *
 * The calls that std and sled 0.34.7 make on Linux are here; sled's own threads come through as well, since they call the
 * same functions. As with a slow disk, sleepers do not wait for each other. 64-bit Linux only.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum kind { READS, WRITES, SYNCS, KINDS };

/* `delay.rs` knows this layout. */
struct control {
    _Atomic uint64_t delay_us;     /* slept before each call; 0: none */
    _Atomic uint64_t is_loaded;    /* 1 once this library is in a process */
    _Atomic uint64_t calls[KINDS]; /* of files below the directory, slept or not */
    _Atomic uint64_t slept[KINDS]; /* those of them that slept */
    _Atomic uint64_t fails_in[KINDS]; /* 1: the next one fails, 2: the one after it, ...; 0: none */
    _Atomic uint64_t failed[KINDS];   /* those that did */
    _Atomic uint64_t aside_us;     /* slept before the free space below the directory is told, which is no I/O; 0: none */
    _Atomic uint64_t only;         /* the sick device and one; 0: all that is below the directory is sick */
    _Atomic uint64_t swift;        /* kinds that are not delayed, a bit each */
    _Atomic uint64_t broken;       /* kinds of which every call fails, a bit each */
    _Atomic uint64_t wakes;        /* when it changes, whoever sleeps stops sleeping */
};

static struct control *control;
static const char *slow_dir;
static size_t slow_dir_len;

/* What is known of each descriptor: asking the kernel every time would cost the healthy files more than a write. */
enum { UNKNOWN, HEALTHY, SLOW, SLOW_DEVICE };
#define DEVICE "/device-"
#define DESCRIPTORS 65536
static _Atomic unsigned char known[DESCRIPTORS];

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("ORDERMINT_SLOW_CONTROL");
    slow_dir = getenv("ORDERMINT_SLOW_DIR");
    if (!file || !slow_dir || !*slow_dir)
        return;
    slow_dir_len = strlen(slow_dir);
    int fd = open(file, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (map == MAP_FAILED)
        return;
    control = map;
    atomic_store(&control->is_loaded, 1);
}

static int is_below(const char *path) {
    return strncmp(path, slow_dir, slow_dir_len) == 0 && (path[slow_dir_len] == '/' || path[slow_dir_len] == '\0');
}

/* HEALTHY, SLOW, or SLOW_DEVICE and the digit of the device. */
static unsigned char place_of(const char *path) {
    if (!is_below(path))
        return HEALTHY;
    const char *inside = path + slow_dir_len;
    size_t len = sizeof DEVICE - 1;
    if (strncmp(inside, DEVICE, len) != 0 || inside[len] < '0' || inside[len] > '9')
        return SLOW;
    return (inside[len + 1] == '/' || inside[len + 1] == '\0') ? SLOW_DEVICE + (inside[len] - '0') : SLOW;
}

static int is_slow(int fd) {
    if (!control || fd < 0)
        return 0;
    unsigned char state = fd < DESCRIPTORS ? atomic_load_explicit(&known[fd], memory_order_relaxed) : UNKNOWN;
    if (state == UNKNOWN) {
        char link[32], path[4096];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t len = readlink(link, path, sizeof path - 1);
        if (len < 0)
            return 0;
        path[len] = '\0';
        state = place_of(path);
        if (fd < DESCRIPTORS)
            atomic_store_explicit(&known[fd], state, memory_order_relaxed);
    }
    uint64_t only = atomic_load(&control->only);
    return state != HEALTHY && (only == 0 || state == SLOW_DEVICE + (only - 1));
}

/* In short naps, to notice that all are to wake up. */
static void sleep_us(uint64_t us) {
    struct timespec now;
    uint64_t wakes = atomic_load(&control->wakes);
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint64_t left = us, until = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000 + us;
    while (left > 0 && atomic_load(&control->wakes) == wakes) {
        uint64_t nap = left < 20000 ? left : 20000;
        struct timespec time = {.tv_sec = 0, .tv_nsec = (long)nap * 1000};
        nanosleep(&time, NULL);
        clock_gettime(CLOCK_MONOTONIC, &now);
        uint64_t at = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
        left = at < until ? until - at : 0;
    }
}

static int is_chosen(enum kind kind) {
    uint64_t left = atomic_load(&control->fails_in[kind]);
    while (left != 0)
        if (atomic_compare_exchange_weak(&control->fails_in[kind], &left, left - 1))
            return left == 1;
    return 0;
}

/* Whether the call may be made; where not, errno is set. */
static int may_pass(int fd, enum kind kind) {
    if (!is_slow(fd))
        return 1;
    atomic_fetch_add(&control->calls[kind], 1);
    uint64_t us = atomic_load(&control->delay_us);
    if (us != 0 && !(atomic_load(&control->swift) >> kind & 1)) {
        atomic_fetch_add(&control->slept[kind], 1);
        sleep_us(us);
    }
    if (!is_chosen(kind) && !(atomic_load(&control->broken) >> kind & 1))
        return 1;
    atomic_fetch_add(&control->failed[kind], 1);
    errno = EIO;
    return 0;
}

/* Called directly, not through libc's functions of the same names, which are these. `syscall` sets errno as they would. */

ssize_t read(int fd, void *to, size_t len) {
    return may_pass(fd, READS) ? syscall(SYS_read, fd, to, len) : -1;
}

ssize_t pread64(int fd, void *to, size_t len, off64_t at) {
    return may_pass(fd, READS) ? syscall(SYS_pread64, fd, to, len, at) : -1;
}

ssize_t pread(int fd, void *to, size_t len, off_t at) { return pread64(fd, to, len, at); }

ssize_t write(int fd, const void *from, size_t len) {
    return may_pass(fd, WRITES) ? syscall(SYS_write, fd, from, len) : -1;
}

ssize_t pwrite64(int fd, const void *from, size_t len, off64_t at) {
    return may_pass(fd, WRITES) ? syscall(SYS_pwrite64, fd, from, len, at) : -1;
}

ssize_t pwrite(int fd, const void *from, size_t len, off_t at) { return pwrite64(fd, from, len, at); }

int ftruncate64(int fd, off64_t len) {
    return may_pass(fd, WRITES) ? (int)syscall(SYS_ftruncate, fd, len) : -1;
}

int ftruncate(int fd, off_t len) { return ftruncate64(fd, len); }

int fsync(int fd) {
    return may_pass(fd, SYNCS) ? (int)syscall(SYS_fsync, fd) : -1;
}

int fdatasync(int fd) {
    return may_pass(fd, SYNCS) ? (int)syscall(SYS_fdatasync, fd) : -1;
}

int sync_file_range(int fd, off64_t at, off64_t len, unsigned int flags) {
    return may_pass(fd, SYNCS) ? (int)syscall(SYS_sync_file_range, fd, at, len, flags) : -1;
}

/* The number may be given to another file next. */
int close(int fd) {
    if (fd >= 0 && fd < DESCRIPTORS)
        atomic_store_explicit(&known[fd], UNKNOWN, memory_order_relaxed);
    return (int)syscall(SYS_close, fd);
}

/* What std::fs::metadata asks. Whoever bounds the work on a device by its number then bounds this one by itself. */
int statx(int dir, const char *restrict path, int flags, unsigned int mask, struct statx *restrict told) {
    int result = (int)syscall(SYS_statx, dir, path, flags, mask, told);
    if (result == 0 && control && is_below(path)) {
        told->stx_dev_major = 4095;
        told->stx_dev_minor = 77 + place_of(path);
    }
    return result;
}

/* What a replica asks before each group, before it goes near sled: the place to hold it up above sled, for comparison. */
int statvfs64(const char *restrict path, struct statvfs64 *restrict told) {
    static int (*_Atomic real)(const char *, struct statvfs64 *);
    if (!real)
        real = (int (*)(const char *, struct statvfs64 *))dlsym(RTLD_NEXT, "statvfs64");
    if (control && is_below(path)) {
        uint64_t us = atomic_load(&control->aside_us);
        if (us > 0)
            sleep_us(us);
    }
    return real(path, told);
}
