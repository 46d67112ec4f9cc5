/*
 * machine/apply.c - see apply.h.
 *
 * One user, one pass: the quick path patches the image for plain in-order events; the first record
 * that needs more decodes the image, and the rules go on with the decoded value to the end. Then
 * the difference to the base becomes patches or one whole write.
 */
#include "machine/apply.h"

#include "machine/defences.h"
#include "machine/forget.h"

#include <assert.h>
#include <string.h>

#define OUTBOX_FIRST 32

/* One user's pass. */
struct pass {
    struct machine *machine;
    struct shard *shard;
    struct work *work;
    size_t bytes;  /* of machine->image */
    bool decoded;  /* machine->value holds the user now, not the image */
    bool touched;  /* the decoded value was changed */
    bool unusable; /* the stored value is no value */
    uint32_t old_writer;
    uint32_t writer; /* tp of the record that changed it last */
    int64_t written_at_ms;
    bool renew; /* an eighth of the TTL has gone */
    struct user_change change;
};

static enum status no_memory(struct error *err)
{
    return error_set(err, ERR_NOMEM, "no memory left for a batch");
}

static struct part *part_of(const struct pass *pass, const struct record *record)
{
    return &pass->shard->commit.parts[record->part];
}

/* Who a value names after this record has changed it. */
static uint32_t writer_after(const struct pass *pass, const struct record *record)
{
    if (!DEFENCE_WRITER && pass->work->base_bytes > 0)
        return pass->old_writer;
    return part_of(pass, record)->partition->tp;
}

/* Does the event do nothing but enter the sequence of a user without open impressions? What
 * user_value_append() cannot see; the rest it decides itself. */
static bool plain(const struct rules *rules, const struct record *record)
{
    const struct event *event = &record->event;
    const struct action_row *action = &rules->actions[event->action];

    return event->kind == EVENT_ACTION && event->action >= 1 && event->action < ACTIONS_MAX &&
           event->request_id.bytes == 0 && action->history && !action->exposure &&
           !record->replayed && event->time_ms > 0 && event->time_ms <= RULES_TIME_MAX &&
           !(record->watermark_ms > event->time_ms &&
             record->watermark_ms - event->time_ms > rules->late_max_ms);
}

static bool append(struct pass *pass, const struct record *record)
{
    const struct rules *rules = pass->machine->options.rules;
    struct user_entry entry;

    if (!plain(rules, record))
        return false;
    entry = (struct user_entry){.item = rules_item_hash(rules, record->event.item),
                                .time_ms = record->event.time_ms,
                                .action = record->event.action};
    return user_value_append(pass->machine->image, &pass->bytes, USER_VALUE_BYTES_MAX, &entry,
                             rules->sequence_max, writer_after(pass, record), pass->written_at_ms,
                             &pass->change);
}

static enum status emit(struct pass *pass, const struct record *record, struct error *err)
{
    const struct emissions *emissions = pass->machine->emissions;
    struct commit *commit = &pass->shard->commit;
    struct part *part = part_of(pass, record);

    for (int n = 0; n < emissions->count; n++) {
        const struct emission *emission = &emissions->list[n];

        if (commit->emitted_count == commit->emitted_max) {
            int max = commit->emitted_max == 0 ? OUTBOX_FIRST : 2 * commit->emitted_max;
            struct emitted *larger = arena_alloc(pass->shard->arena,
                                                 (size_t)max * sizeof larger[0]);
            if (larger == NULL)
                return no_memory(err);
            if (commit->emitted_count > 0)
                memcpy(larger, commit->emitted, (size_t)commit->emitted_count * sizeof larger[0]);
            commit->emitted = larger;
            commit->emitted_max = max;
        }
        commit->emitted[commit->emitted_count++] = (struct emitted){
            .part = record->part,
            .append = {.tp = part->partition->tp,
                       .id = store_id_of(record->offset, n, emission->bytes, emission->bytes_count),
                       .bytes = emission->bytes,
                       .bytes_count = emission->bytes_count},
        };
        part->appended++;
    }
    return OK;
}

/* One record by the rules proper, on the decoded value. */
static enum status apply_decoded(struct pass *pass, struct record *record, struct error *err)
{
    struct machine *machine = pass->machine;
    enum outcome outcome;
    enum status status;

    if (!pass->decoded) {
        struct error why;
        status = user_value_decode(machine->value, machine->image, pass->bytes, pass->shard->arena,
                                   &why);
        if (status == ERR_NOMEM)
            return no_memory(err);
        if (status != OK) {
            pass->unusable = true;
            return OK;
        }
        pass->decoded = true;
    }
    status = rules_apply(machine->options.rules, machine->value, &record->event,
                         record->watermark_ms, record->replayed, pass->shard->arena,
                         machine->emissions, &outcome, err);
    if (status != OK)
        return status;
    record->outcome = outcome;
    if (outcome == OUTCOME_APPLIED || outcome == OUTCOME_LATE) {
        pass->touched = true;
        pass->writer = writer_after(pass, record);
    }
    if (record->event.kind == EVENT_ERASE)
        forget_emitted(pass->shard, pass->work->hash, record->event.time_ms);
    return emit(pass, record, err);
}

static enum status apply_records(struct pass *pass, struct error *err)
{
    for (struct record *record = pass->work->first; record != NULL; record = record->sibling) {
        enum status status;

        if (!pass->decoded && append(pass, record)) {
            record->outcome = OUTCOME_APPLIED;
            pass->writer = writer_after(pass, record);
            continue;
        }
        status = apply_decoded(pass, record, err);
        if (status != OK || pass->unusable)
            return status;
    }
    return OK;
}

/* An unusable value: its events go to the dead letters, from where they can be replayed. */
static enum status quarantine(struct pass *pass, struct error *err)
{
    struct machine *machine = pass->machine;

    machine->stats.quarantined++;
    pass->work->unusable = true;
    for (struct record *record = pass->work->first; record != NULL; record = record->sibling) {
        record->outcome = OUTCOME_DEAD;
        if (record->letter != 0)
            continue;
        record->letter = letters_add(&machine->letters, part_of(pass, record)->partition->number,
                                     record->offset, record->timestamp_ms, REFUSAL_QUARANTINED,
                                     record->head, record->raw_bytes);
        if (record->letter == 0)
            return no_memory(err);
        machine->stats.letters[REFUSAL_QUARANTINED]++;
    }
    return OK;
}

/* The decoded value becomes the image. A user of whom nothing is kept is not written. */
static void encode(struct pass *pass)
{
    struct machine *machine = pass->machine;
    struct user_value *value = machine->value;

    if (!pass->touched)
        return;
    if (pass->bytes == 0 && value->count == 0 && value->opens_count == 0 &&
        value->erased_at_ms == 0)
        return;
    value->writer = pass->writer;
    value->written_at_ms = pass->written_at_ms;
    pass->bytes = user_value_diff(machine->image, pass->bytes, value,
                                  machine->options.rules->sequence_max, machine->image,
                                  USER_VALUE_BYTES_MAX, &pass->change);
    assert(pass->bytes > 0); /* the rules keep every value within its limit */
}

static void add_write(struct pass *pass, struct store_write write)
{
    struct commit *commit = &pass->shard->commit;

    write.user = pass->work->user;
    commit->writes[commit->writes_count++] = write;
    pass->work->writes_count++;
}

/* The change as patches, header first, or as one whole value. */
static enum status write_user(struct pass *pass, struct error *err)
{
    struct work *work = pass->work;
    struct machine *machine = pass->machine;
    struct arena *arena = pass->shard->arena;
    struct user_patch patches[USER_PATCHES_MAX];
    int count = work->base_bytes == 0
                    ? 0
                    : user_value_patches(&pass->change, machine->image, pass->bytes, patches);

    work->first_write = pass->shard->commit.writes_count;
    work->image_bytes = (uint32_t)pass->bytes;
    if (count == 0 || work->cached == NULL) {
        work->image = arena_copy(arena, machine->image, pass->bytes);
        if (work->image == NULL)
            return no_memory(err);
    }
    if (count == 0) {
        add_write(pass, (struct store_write){.whole = true,
                                             .count = (uint32_t)pass->bytes,
                                             .bytes = work->image,
                                             .ttl_ms = machine->options.ttl_ms});
        return OK;
    }
    for (int i = 0; i < count; i++) {
        const uint8_t *bytes = arena_copy(arena, machine->image + patches[i].offset,
                                          patches[i].bytes);
        if (bytes == NULL)
            return no_memory(err);
        add_write(pass, (struct store_write){
                            .at = patches[i].offset,
                            .count = patches[i].bytes,
                            .bytes = bytes,
                            .ttl_ms = i == 0 && pass->renew ? machine->options.ttl_ms : 0});
    }
    return OK;
}

/* Counts and letters of the user's records, once they are certain. */
static void account(struct pass *pass)
{
    struct commit *commit = &pass->shard->commit;

    for (const struct record *record = pass->work->first; record != NULL;
         record = record->sibling) {
        part_of(pass, record)->to.counts[record->outcome]++;
        if (record->letter > commit->letter)
            commit->letter = record->letter;
    }
}

static enum status apply_user(struct machine *machine, struct shard *shard, struct work *work,
                              struct error *err)
{
    struct pass pass = {.machine = machine, .shard = shard, .work = work};
    struct user_header header = {0};
    int64_t ttl_ms = machine->options.ttl_ms;
    enum status status = OK;

    /* Nothing where something is: another type, or an empty string. */
    if (work->base_bytes <= USER_VALUE_BYTES_MAX &&
        user_value_header(&header, work->base, work->base_bytes) &&
        (!DEFENCE(BAD_TYPE) || work->found == STORE_ABSENT || work->base_bytes > 0)) {
        if (work->base_bytes > 0)
            memcpy(machine->image, work->base, work->base_bytes);
        pass.bytes = work->base_bytes;
        pass.old_writer = header.writer;
        pass.renew = work->base_bytes == 0 || header.written_at_ms > machine->now_wall_ms ||
                     machine->now_wall_ms - header.written_at_ms >= ttl_ms / 8;
        pass.written_at_ms = pass.renew ? machine->now_wall_ms : header.written_at_ms;
        status = apply_records(&pass, err);
    } else {
        pass.unusable = true;
    }
    if (status == OK && pass.unusable)
        status = quarantine(&pass, err);
    if (status != OK)
        return status;
    account(&pass);
    if (pass.unusable)
        return OK;
    if (pass.decoded)
        encode(&pass);
    work->writer = pass.change.changed ? pass.writer : header.writer;
    work->written_at_ms = pass.change.changed ? pass.written_at_ms : header.written_at_ms;
    work->old_writer = header.writer;
    work->moved = pass.change.changed && work->base_bytes > 0 && header.writer != pass.writer;
    return pass.change.changed ? write_user(&pass, err) : OK;
}

enum status apply_batch(struct machine *machine, struct shard *shard, struct error *err)
{
    struct commit *commit = &shard->commit;

    commit->writes = arena_alloc(shard->arena, (size_t)(commit->works_count + 1) *
                                                   USER_PATCHES_MAX * sizeof commit->writes[0]);
    if (commit->writes == NULL)
        return no_memory(err);
    for (int i = 0; i < commit->works_count; i++) {
        enum status status = apply_user(machine, shard, &commit->works[i], err);
        if (status != OK)
            return status;
    }
    return OK;
}
