/* kernels/crew.c - threads that meet at a round number: each round is one job. */
#include "kernels/crew.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct member {
    struct crew *crew;
    int index;
    pthread_t thread;
};

struct crew {
    int count, started;
    pthread_mutex_t lock; /* of everything below */
    pthread_cond_t begin, done;
    uint64_t round;
    int working;
    bool over;
    void (*job)(void *context, int member);
    void *context;
    struct member members[CREW_MAX];
};

static void *member_main(void *argument)
{
    struct member *me = argument;
    struct crew *crew = me->crew;
    uint64_t seen = 0;

    (void)pthread_mutex_lock(&crew->lock);
    for (;;) {
        void (*job)(void *, int);
        void *context;

        while (crew->round == seen && !crew->over)
            (void)pthread_cond_wait(&crew->begin, &crew->lock);
        if (crew->over)
            break;
        seen = crew->round;
        job = crew->job;
        context = crew->context;
        (void)pthread_mutex_unlock(&crew->lock);
        job(context, me->index);
        (void)pthread_mutex_lock(&crew->lock);
        if (--crew->working == 0)
            (void)pthread_cond_signal(&crew->done);
    }
    (void)pthread_mutex_unlock(&crew->lock);
    return NULL;
}

enum status crew_create(struct crew **crew, int members, struct error *err)
{
    struct crew *c = calloc(1, sizeof *c);

    assert(members >= 1 && members <= CREW_MAX);
    *crew = NULL;
    if (c == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a crew of %d threads", members);
    c->count = members;
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_cond_init(&c->begin, NULL);
    (void)pthread_cond_init(&c->done, NULL);
    for (int i = 1; i < members; i++) {
        c->members[i] = (struct member){.crew = c, .index = i};
        if (pthread_create(&c->members[i].thread, NULL, member_main, &c->members[i]) != 0) {
            crew_destroy(c);
            return error_set(err, ERR_NOMEM, "could not start training thread %d", i);
        }
        c->started = i;
    }
    *crew = c;
    return OK;
}

void crew_destroy(struct crew *crew)
{
    if (crew == NULL)
        return;
    (void)pthread_mutex_lock(&crew->lock);
    crew->over = true;
    (void)pthread_cond_broadcast(&crew->begin);
    (void)pthread_mutex_unlock(&crew->lock);
    for (int i = 1; i <= crew->started; i++)
        (void)pthread_join(crew->members[i].thread, NULL);
    (void)pthread_cond_destroy(&crew->done);
    (void)pthread_cond_destroy(&crew->begin);
    (void)pthread_mutex_destroy(&crew->lock);
    free(crew);
}

int crew_members(const struct crew *crew)
{
    return crew->count;
}

void crew_run(struct crew *crew, void (*job)(void *context, int member), void *context)
{
    if (crew->count > 1) {
        (void)pthread_mutex_lock(&crew->lock);
        crew->job = job;
        crew->context = context;
        crew->working = crew->count - 1;
        crew->round++;
        (void)pthread_cond_broadcast(&crew->begin);
        (void)pthread_mutex_unlock(&crew->lock);
    }
    job(context, 0);
    if (crew->count > 1) {
        (void)pthread_mutex_lock(&crew->lock);
        while (crew->working > 0)
            (void)pthread_cond_wait(&crew->done, &crew->lock);
        (void)pthread_mutex_unlock(&crew->lock);
    }
}
