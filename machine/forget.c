/* machine/forget.c - see forget.h. */
#include "machine/forget.h"

#include "machine/apply.h"
#include "machine/defences.h"
#include "schemas/example.h"

#include <assert.h>
#include <string.h>

#define FORGOTTEN_FIRST 32

bool forget_wanted(const struct shard *shard)
{
    bool wanted = false;

    for (int i = 0; i < shard->commit.works_count; i++)
        wanted |= shard->commit.works[i].erases;
    return wanted && DEFENCE_FORGET;
}

void forget_ask(struct shard *shard)
{
    const struct commit *commit = &shard->commit;

    assert(!forget_read_all(shard));
    shard->turn = TURN_ROWS;
    shard->request = (struct store_request){.kind = STORE_ROWS,
                                            .shard = shard->number,
                                            .tp = commit->parts[commit->page_part].partition->tp,
                                            .from = commit->page_from};
}

bool forget_read_all(const struct shard *shard)
{
    return shard->commit.page_part == shard->commit.parts_count;
}

/* Whose row this is, of those who are erased; -1: of none, or from after the erasure. */
static int holder(const struct commit *commit, const struct store_row *row)
{
    for (int i = 0; i < commit->works_count; i++)
        if (commit->works[i].erases &&
            example_holds(row->bytes, row->bytes_count, commit->works[i].hash,
                          commit->works[i].erased_at_ms))
            return i;
    return -1;
}

static bool keep(struct shard *shard, struct forgotten forgotten)
{
    struct commit *commit = &shard->commit;

    if (commit->forgotten_count == commit->forgotten_max) {
        int max = commit->forgotten_max == 0 ? FORGOTTEN_FIRST : 2 * commit->forgotten_max;
        struct forgotten *larger = arena_alloc(shard->arena, (size_t)max * sizeof larger[0]);

        if (larger == NULL)
            return false;
        if (commit->forgotten_count > 0)
            memcpy(larger, commit->forgotten, (size_t)commit->forgotten_count * sizeof larger[0]);
        commit->forgotten = larger;
        commit->forgotten_max = max;
    }
    commit->forgotten[commit->forgotten_count++] = forgotten;
    return true;
}

bool forget_take(struct shard *shard, const struct store_reply *reply)
{
    struct commit *commit = &shard->commit;

    for (int i = 0; i < reply->rows_count; i++) {
        int work = holder(commit, &reply->rows[i]);

        if (work >= 0 &&
            !keep(shard, (struct forgotten){commit->page_part, work, reply->rows[i].id}))
            return false;
    }
    if (reply->rows_count < STORE_ROWS_MAX) {
        commit->page_part++;
        commit->page_from = (struct store_id){0, 0};
        return true;
    }
    commit->page_from = reply->rows[reply->rows_count - 1].id;
    if (++commit->page_from.low == 0)
        commit->page_from.high++;
    return true;
}

void forget_emitted(struct shard *shard, uint64_t user, int64_t time_ms)
{
    struct commit *commit = &shard->commit;
    int kept = 0;

    for (int i = 0; i < commit->emitted_count && DEFENCE_FORGET; i++) {
        const struct emitted *emitted = &commit->emitted[i];

        if (example_holds(emitted->append.bytes, emitted->append.bytes_count, user, time_ms))
            commit->parts[emitted->part].appended--;
        else
            commit->emitted[kept++] = *emitted;
    }
    if (DEFENCE_FORGET)
        commit->emitted_count = kept;
}

bool forget_put(struct shard *shard)
{
    struct commit *commit = &shard->commit;
    struct store_delete *deletes;
    int count = 0;

    if (commit->forgotten_count == 0)
        return true;
    deletes = arena_alloc(shard->arena, (size_t)commit->forgotten_count * sizeof deletes[0]);
    if (deletes == NULL)
        return false;
    for (int i = 0; i < commit->forgotten_count; i++) {
        const struct forgotten *forgotten = &commit->forgotten[i];

        if (!commit->works[forgotten->work].unusable)
            deletes[count++] = (struct store_delete){commit->parts[forgotten->part].partition->tp,
                                                     forgotten->id};
    }
    shard->request.deletes = deletes;
    shard->request.deletes_count = count;
    return true;
}

void forget_settle(struct shard *shard)
{
    struct commit *commit = &shard->commit;

    for (int i = 0; i < commit->forgotten_count; i++) {
        const struct part *part = &commit->parts[commit->forgotten[i].part];
        struct progress *progress;

        if (part->partition->generation != part->generation ||
            commit->works[commit->forgotten[i].work].unusable)
            continue;
        progress = progress_of(part->partition, shard);
        if (progress->outbox_rows > 0) /* the next trim counts anew */
            progress->outbox_rows--;
    }
}
