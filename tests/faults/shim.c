/* Fault points for the crash tests: preloaded into a process, it counts the calls by which the main thread
 * changes files of one folder or sends over TCP, and does something at the k-th.
 *
 *   KILL      SIGKILL before the call
 *   POWER     a random half of what was written to each file since its last sync is undone, the newest write of
 *             it is torn in half, then SIGKILL: what a power cut may leave
 *   NOSPACE   the call writes nothing and fails with ENOSPC; with `forever`, so do all later writes
 *   EIO       the call fails with EIO
 *   TERM      SIGTERM before the call, which then goes on
 *
 * Not modelled: lost directory entries, and pages reordered within one write.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { COUNT, KILL, POWER, NOSPACE, EIO_, TERM };
enum { WRITE = 1, SYNC, TRUNCATE, SEND };

static int armed, mode, forever, trace_fd = -1, fired;
static long at, calls;
static char folder[512];
static unsigned seed;

struct undo { char path[600]; off_t offset, size_before; size_t length; char *old; };
static struct undo undos[4096];
static int n_undos;

void shim_arm(const char *prefix, int mode_, long at_, int forever_, unsigned seed_, int trace_fd_) {
    snprintf(folder, sizeof folder, "%s/", prefix);
    mode = mode_; at = at_; forever = forever_; seed = seed_; trace_fd = trace_fd_;
    calls = 0; fired = 0; n_undos = 0; armed = 1;
}
long shim_calls(void) { return calls; }
int shim_fired(void) { return fired; }

static void say(const char *kind, const char *what) {
    char line[700];
    if (trace_fd < 0) return;
    int n = snprintf(line, sizeof line, "%ld %s %s\n", calls, kind, what);
    if (syscall(SYS_write, trace_fd, line, n) < 0) abort();
}
void shim_mark(const char *what) { say("mark", what); }

static int path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, size - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return strncmp(path, folder, strlen(folder)) == 0;
}
static int is_tcp(int fd) {
    int domain; socklen_t n = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 && domain == AF_INET;
}

static void undo_half(void) {
    for (int i = n_undos - 1; i >= 0; i--) {
        struct undo *u = &undos[i];
        int newest = 1;
        for (int j = i + 1; j < n_undos; j++) if (!strcmp(undos[j].path, u->path)) newest = 0;
        size_t keep = newest ? u->length / 2 : rand_r(&seed) % 2 ? u->length : 0;
        if (keep == u->length) continue;
        int fd = open(u->path, O_RDWR);
        if (fd < 0) continue;
        if (syscall(SYS_pwrite64, fd, u->old + keep, u->length - keep, u->offset + (off_t)keep) < 0) abort();
        struct stat st;
        if (fstat(fd, &st) == 0 && u->size_before < st.st_size && st.st_size == u->offset + (off_t)u->length) {
            off_t end = u->offset + (off_t)keep;
            if (syscall(SYS_ftruncate, fd, end > u->size_before ? end : u->size_before) < 0) abort();
        }
        close(fd);
    }
}

/* Return 0 to go on, or the errno with which the call must fail. */
static int point(int kind, int fd, const char *name, size_t length, off_t offset) {
    static __thread int inside;
    char path[600];
    if (!armed || inside || (pid_t)syscall(SYS_gettid) != getpid()) return 0;
    if (kind == SEND ? !is_tcp(fd) : !path_of(fd, path, sizeof path)) return 0;
    if (kind == SEND) strcpy(path, "tcp");
    inside = 1;
    calls++;
    say(name, path);
    int error = 0;
    if (calls == at || (forever && fired && (kind == WRITE || kind == TRUNCATE))) {
        fired = 1;
        if (mode == POWER) undo_half();
        if (mode == KILL || mode == POWER) { kill(getpid(), SIGKILL); pause(); }
        if (mode == TERM) kill(getpid(), SIGTERM);
        if (mode == NOSPACE && (kind == WRITE || kind == TRUNCATE)) error = ENOSPC;
        if (mode == EIO_) error = EIO;
    }
    if (mode == POWER && !error && kind == WRITE && n_undos < 4096) {
        struct undo *u = &undos[n_undos++];
        struct stat st;
        fstat(fd, &st);
        strcpy(u->path, path);
        u->offset = offset < 0 ? lseek(fd, 0, SEEK_CUR) : offset;
        u->size_before = st.st_size; u->length = length;
        u->old = calloc(1, length + 1);  /* beyond the old end of the file: zeros */
        if (pread(fd, u->old, length, u->offset) < 0) abort();
    }
    if (mode == POWER && kind == SYNC) {
        int kept = 0;
        for (int i = 0; i < n_undos; i++)
            if (strcmp(undos[i].path, path)) undos[kept++] = undos[i];
            else free(undos[i].old);
        n_undos = kept;
    }
    inside = 0;
    return error;
}
#define FAIL_OR(call) do { int e_ = (call); if (e_) { errno = e_; return -1; } } while (0)

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t offset) {
    FAIL_OR(point(WRITE, fd, "pwrite", n, offset));
    return syscall(SYS_pwrite64, fd, data, n, offset);
}
ssize_t pwrite(int fd, const void *data, size_t n, off_t offset) { return pwrite64(fd, data, n, offset); }
ssize_t write(int fd, const void *data, size_t n) {
    FAIL_OR(point(WRITE, fd, "write", n, -1));
    return syscall(SYS_write, fd, data, n);
}
int fsync(int fd) { FAIL_OR(point(SYNC, fd, "fsync", 0, 0)); return syscall(SYS_fsync, fd); }
int fdatasync(int fd) { FAIL_OR(point(SYNC, fd, "fdatasync", 0, 0)); return syscall(SYS_fdatasync, fd); }
int ftruncate64(int fd, off64_t n) { FAIL_OR(point(TRUNCATE, fd, "ftruncate", 0, 0)); return syscall(SYS_ftruncate, fd, n); }
int ftruncate(int fd, off_t n) { return ftruncate64(fd, n); }
ssize_t send(int fd, const void *data, size_t n, int flags) {
    FAIL_OR(point(SEND, fd, "send", n, 0));
    return syscall(SYS_sendto, fd, data, n, flags, NULL, 0);
}
