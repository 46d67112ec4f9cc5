/*
 * tests/support/c11_threads.c - lets ThreadSanitizer see what librdkafka does.
 *
 * Debian's librdkafka uses C11's <threads.h>, which gcc 12's ThreadSanitizer does not intercept:
 * a thread it has not seen begin crashes it. Under SAN=thread these definitions take the place of
 * libc's and pass each call on to its POSIX twin, which is intercepted. glibc's types have one
 * layout for both.
 *
 * Suppressed: librdkafka and libmicrohttpd are not compiled with the sanitizer. The atomic counts
 * that say who frees a record are not seen, so a free() of a record we have read looks like a race;
 * nor is what orders a server's epoll before our close() of the socket that it gave back.
 */
#if defined(__SANITIZE_THREAD__)

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

_Static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t), "glibc gives both one layout");
_Static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t), "glibc gives both one layout");

const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
    return "race:librdkafka.so\nrace:libmicrohttpd.so\n";
}

struct start {
    thrd_start_t run;
    void *argument;
};

static void *run_start(void *argument)
{
    struct start start = *(struct start *)argument;

    free(argument);
    return (void *)(intptr_t)start.run(start.argument);
}

int thrd_create(thrd_t *thread, thrd_start_t run, void *argument)
{
    struct start *start = malloc(sizeof *start);

    if (start == NULL)
        return thrd_nomem;
    *start = (struct start){run, argument};
    if (pthread_create(thread, NULL, run_start, start) == 0)
        return thrd_success;
    free(start);
    return thrd_error;
}

int thrd_join(thrd_t thread, int *result)
{
    void *returned = NULL;

    if (pthread_join(thread, &returned) != 0)
        return thrd_error;
    if (result != NULL)
        *result = (int)(intptr_t)returned;
    return thrd_success;
}

int mtx_init(mtx_t *mutex, int type)
{
    pthread_mutexattr_t attributes;

    (void)pthread_mutexattr_init(&attributes);
    if ((type & mtx_recursive) != 0)
        (void)pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
    (void)pthread_mutex_init((pthread_mutex_t *)mutex, &attributes);
    (void)pthread_mutexattr_destroy(&attributes);
    return thrd_success;
}

void mtx_destroy(mtx_t *mutex)
{
    (void)pthread_mutex_destroy((pthread_mutex_t *)mutex);
}

int mtx_lock(mtx_t *mutex)
{
    return pthread_mutex_lock((pthread_mutex_t *)mutex) == 0 ? thrd_success : thrd_error;
}

int mtx_unlock(mtx_t *mutex)
{
    return pthread_mutex_unlock((pthread_mutex_t *)mutex) == 0 ? thrd_success : thrd_error;
}

int cnd_init(cnd_t *condition)
{
    return pthread_cond_init((pthread_cond_t *)condition, NULL) == 0 ? thrd_success : thrd_error;
}

void cnd_destroy(cnd_t *condition)
{
    (void)pthread_cond_destroy((pthread_cond_t *)condition);
}

int cnd_signal(cnd_t *condition)
{
    return pthread_cond_signal((pthread_cond_t *)condition) == 0 ? thrd_success : thrd_error;
}

int cnd_broadcast(cnd_t *condition)
{
    return pthread_cond_broadcast((pthread_cond_t *)condition) == 0 ? thrd_success : thrd_error;
}

int cnd_wait(cnd_t *condition, mtx_t *mutex)
{
    return pthread_cond_wait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex) == 0
               ? thrd_success
               : thrd_error;
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex,
                  const struct timespec *restrict until)
{
    int code = pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, until);

    return code == 0 ? thrd_success : code == ETIMEDOUT ? thrd_timedout : thrd_error;
}

void call_once(once_flag *flag, void (*run)(void))
{
    (void)pthread_once((pthread_once_t *)flag, run);
}

#else

/* Nothing to do in other builds; C wants a declaration in every file. */
typedef int c11_threads_are_left_alone;

#endif
