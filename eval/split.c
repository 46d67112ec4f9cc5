/* eval/split.c - prefixes of users' events for training, the rest as targets in time order. */
#include "eval/split.h"

#include "ops/random.h"

#include <stdlib.h>
#include <string.h>

#define LEAST_EVENTS 3

#define X(id, name) name,
const char *const split_protocol_names[SPLIT_PROTOCOLS] = {SPLIT_PROTOCOL_LIST(X)};
#undef X

enum role { ROLE_NONE, ROLE_VALIDATION, ROLE_TEST };

static enum role role_left_out(const struct split *s, int64_t event)
{
    const struct interactions *d = s->data;
    int64_t first = d->start[d->user[event]], end = d->start[d->user[event] + 1];

    if (end - first < LEAST_EVENTS || event < end - 2)
        return ROLE_NONE;
    return event == end - 1 ? ROLE_TEST : ROLE_VALIDATION;
}

/* By the place among all events; a user's first event has nothing it could be foreseen from. */
static enum role role_by_time(const struct split *s, int64_t event)
{
    const struct interactions *d = s->data;
    int64_t tenth = d->count / 10 > 0 ? d->count / 10 : 1;

    if (d->order[event] < d->count - 2 * tenth)
        return ROLE_NONE;
    return d->order[event] < d->count - tenth ? ROLE_VALIDATION : ROLE_TEST;
}

static enum role role_of(const struct split *s, enum split_protocol protocol, int64_t event)
{
    return protocol == SPLIT_TIME ? role_by_time(s, event) : role_left_out(s, event);
}

static void find_training(struct split *s, enum split_protocol protocol)
{
    const struct interactions *d = s->data;

    for (int32_t u = 0; u < d->users; u++) {
        int64_t at = d->start[u];

        while (at < d->start[u + 1] && role_of(s, protocol, at) == ROLE_NONE)
            at++;
        s->train_end[u] = at;
        s->train_count += at - d->start[u];
        s->short_users += protocol == SPLIT_LEAVE_ONE_OUT &&
                          d->start[u + 1] - d->start[u] < LEAST_EVENTS;
    }
}

static void find_targets(struct split *s, enum split_protocol protocol)
{
    const struct interactions *d = s->data;

    for (int64_t n = 0; n < d->count; n++) {
        int64_t event = d->by_time[n];
        enum role role = role_of(s, protocol, event);

        if (role == ROLE_NONE || event == d->start[d->user[event]])
            continue;
        if (role == ROLE_VALIDATION)
            s->validation.at[s->validation.count++] = event;
        else
            s->test.at[s->test.count++] = event;
    }
}

enum status split_make(struct split *split, const struct interactions *data,
                       enum split_protocol protocol, struct error *err)
{
    struct split made = {.data = data};
    enum status status = OK;
    size_t most = (size_t)data->count;

    *split = (struct split){0};
    made.train_end = calloc((size_t)data->users, sizeof *made.train_end);
    made.validation.at = malloc(most * sizeof *made.validation.at);
    made.test.at = malloc(most * sizeof *made.test.at);
    if (made.train_end == NULL || made.validation.at == NULL || made.test.at == NULL) {
        status = error_set(err, ERR_NOMEM, "no memory to split %zu events", most);
        goto done;
    }
    find_training(&made, protocol);
    find_targets(&made, protocol);
    if (made.test.count == 0 || made.validation.count == 0 || made.train_count == 0) {
        status = error_set(err, ERR_MALFORMED,
                           "%s of %lld events of %d users leaves %lld to learn from, %lld to "
                           "validate with and %lld to test with; a user needs %d events",
                           split_protocol_names[protocol], (long long)data->count, (int)data->users,
                           (long long)made.train_count, (long long)made.validation.count,
                           (long long)made.test.count, LEAST_EVENTS);
        goto done;
    }
    *split = made;
    made = (struct split){0};
done:
    split_clear(&made);
    return status;
}

void split_clear(struct split *split)
{
    free(split->train_end);
    free(split->validation.at);
    free(split->test.at);
    *split = (struct split){0};
}

enum status split_sample(struct split_targets *sample, const struct split_targets *targets,
                         int64_t most, uint64_t seed, struct error *err)
{
    int64_t count = targets->count < most ? targets->count : most, left = count;
    struct random random;

    *sample = (struct split_targets){.at = malloc((size_t)(count + 1) * sizeof *sample->at)};
    if (sample->at == NULL)
        return error_set(err, ERR_NOMEM, "no memory for %lld targets", (long long)count);
    random_seed(&random, seed);
    for (int64_t i = 0; i < targets->count && left > 0; i++) {
        /* Each of the rest is as likely: Knuth, The Art of Computer Programming 2, 3.4.2 S. */
        if ((int64_t)random_below(&random, (uint64_t)(targets->count - i)) >= left)
            continue;
        sample->at[sample->count++] = targets->at[i];
        left--;
    }
    return OK;
}
