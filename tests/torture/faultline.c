/* Counts the system calls by which a process changes its files, and lets the n-th of them go wrong.

   Loaded by LD_PRELOAD. Counts over all threads and, by a shared file, over several lives of a
   program; strace counts for each thread by itself, so that it cannot tell "the fortieth rename".
   Only calls on paths that hold FAULTLINE_PATH, and not FAULTLINE_EXCEPT, are counted.

     FAULTLINE_CALL   write, fdatasync, rename or unlink
     FAULTLINE_NTH    which one goes wrong, from 1 on
     FAULTLINE_ACT    kill: dies before the call; after: dies when it has returned; or a number of
                      milliseconds, by which every call from the n-th on is late
     FAULTLINE_COUNT  a file of eight bytes that holds the count */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const char *watched_call, *watched_path, *passed_path, *act;
static unsigned long nth;
static _Atomic unsigned long *count;

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("FAULTLINE_COUNT"), *number = getenv("FAULTLINE_NTH");
    watched_call = getenv("FAULTLINE_CALL");
    watched_path = getenv("FAULTLINE_PATH");
    passed_path = getenv("FAULTLINE_EXCEPT");
    act = getenv("FAULTLINE_ACT");
    if (!file || !number || !watched_call || !watched_path || !act)
        return;
    nth = strtoul(number, NULL, 10);
    int fd = open(file, O_RDWR);
    if (fd < 0)
        return;
    void *page = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    count = page == MAP_FAILED ? NULL : page;
    close(fd);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Whether this is the call that dies after it has returned. */
static int meet(const char *call, const char *path) {
    if (!count || strcmp(call, watched_call) != 0 || !strstr(path, watched_path))
        return 0;
    if (passed_path && strstr(path, passed_path))
        return 0;
    unsigned long now = atomic_fetch_add(count, 1) + 1;
    if (strcmp(act, "kill") == 0 && now == nth)
        die();
    if (strcmp(act, "after") == 0)
        return now == nth;
    unsigned long late = strtoul(act, NULL, 10);
    if (late > 0 && now >= nth) {
        struct timespec pause_time = {late / 1000, (long)(late % 1000) * 1000000L};
        nanosleep(&pause_time, NULL);
    }
    return 0;
}

static int meet_file(const char *call, int fd) {
    if (!count || strcmp(call, watched_call) != 0)
        return 0;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return meet(call, path);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define PASS(type, dies, expression) \
    do { \
        int dying = dies; \
        type result = expression; \
        if (dying) \
            die(); \
        return result; \
    } while (0)

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t offset) {
    PASS(ssize_t, meet_file("write", fd), NEXT(pwrite64)(fd, bytes, size, offset));
}

int fdatasync(int fd) {
    PASS(int, meet_file("fdatasync", fd), NEXT(fdatasync)(fd));
}

int rename(const char *from, const char *to) {
    PASS(int, meet("rename", to), NEXT(rename)(from, to));
}

int unlink(const char *path) {
    PASS(int, meet("unlink", path), NEXT(unlink)(path));
}
