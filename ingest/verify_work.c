/* ingest/verify_work.c - see verify_work.h. */
#include "ingest/verify_work.h"

#include "ops/kafka_ask.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define ASK_MS 5000

enum status verify_work_init(struct verify_work *work, int shards, struct error *err)
{
    *work = (struct verify_work){.shards = shards, .members = -1};
    work->moved = calloc((size_t)shards + 1, sizeof *work->moved);
    work->found = calloc((size_t)shards + 1, sizeof *work->found);
    if (work->moved != NULL && work->found != NULL)
        return OK;
    verify_work_clear(work);
    return error_set(err, ERR_NOMEM, "no memory to verify");
}

void verify_work_clear(struct verify_work *work)
{
    free(work->moved);
    free(work->found);
    *work = (struct verify_work){0};
}

void verify_work_ask(struct verify_work *work, const struct config *config)
{
    const char *group = config_text(config, "kafka.group");
    struct error err;
    int members = 0;

    work->members = kafka_group_members(config, group, ASK_MS, &members, &err) == OK ? members : -1;
    if (work->members > 0)
        (void)fprintf(stderr,
                      "group \"%s\" has %d members (one with a kafka.instance_id stays one until "
                      "kafka.session_timeout has passed): while events flow, what ingest writes is "
                      "in flight and not judged; for a verdict about all of it stop every ingest "
                      "first\n",
                      group, work->members);
}

void verify_work_differs(struct verify_work *work, int shard)
{
    assert(shard >= 0 && shard < work->shards);
    work->found[shard]++;
}

void verify_work_compare(struct verify_work *work, const struct offsets *before,
                         const struct offsets *after)
{
    for (int i = 0; i < after->count; i++) {
        const struct offsets_partition *now = &after->list[i];
        int place = offsets_place(before, now->partition);
        const struct offsets_partition *was = place < 0 ? NULL : &before->list[place];
        bool other = was == NULL || was->log_number != now->log_number;

        if (!other && now->next_max > was->next_max)
            work->records += now->next_max - (was->next_max < 0 ? was->start : was->next_max);
        for (int s = 0; s < work->shards; s++)
            work->moved[s] |= other || now->next_of[s] != was->next_of[s];
    }
    work->shards_moved = 0;
    for (int s = 0; s < work->shards; s++)
        work->shards_moved += work->moved[s];
}

int64_t verify_work_unjudged(const struct verify_work *work)
{
    int64_t apart = 0;

    for (int s = 0; s < work->shards; s++)
        apart += work->moved[s] ? work->found[s] : 0;
    return apart;
}
