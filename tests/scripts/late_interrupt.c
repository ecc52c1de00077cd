/* Preloaded: SIGINT comes once, in the last moment before the main thread begins to wait without end. */
#define _GNU_SOURCE
#include <signal.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

int epoll_wait(int epoll, struct epoll_event *events, int n, int timeout_ms) {
    static int sent;
    int is_main = (pid_t)syscall(SYS_gettid) == getpid();
    if (!sent && is_main && timeout_ms < 0) {
        sent = 1;
        kill(getpid(), SIGINT);
    }
    return (int)syscall(SYS_epoll_pwait, epoll, events, n, timeout_ms, NULL, 8);
}
