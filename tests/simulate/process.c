/*
 * tests/simulate/process.c - one `freshet ingest`: the machine, its connections, its consumer.
 *
 * What ingest's loop does against librdkafka and hiredis is done here against the models, one
 * small action at a time, so that anything can happen between two of them.
 */
#include "tests/simulate/world.h"

#include "schemas/example.h"

#include <stdio.h>
#include <string.h>

int process_number(const struct world *world, const struct process *process)
{
    return (int)(process - world->processes);
}

static void draw(void *context, void *into, size_t bytes)
{
    struct world *world = context;
    uint8_t *at = into;

    while (bytes > 0) {
        uint64_t drawn = random_u64(&world->machine_random);
        size_t part = bytes < sizeof drawn ? bytes : sizeof drawn;
        memcpy(at, &drawn, part);
        at += part;
        bytes -= part;
    }
}

void process_start(struct world *world, struct process *process)
{
    struct machine_options options = world->options;
    struct error err;

    *process = (struct process){0};
    options.random = draw;
    options.random_context = world;
    if (machine_create(&process->machine, &options, &err) != OK) {
        world_violation(world, "machine_create", "%s", err.text);
        return;
    }
    machine_time(process->machine, world_wall_ms(world), world->now_us);
}

/* ---- connections ---- */

static void connect_wire(struct world *world, struct process *process, int shard)
{
    struct wire *wire = &process->wires[shard];

    *wire = (struct wire){.up = true};
    wire->connection.epoch = world->nodes[node_of(shard)].epoch;
    machine_connected(process->machine, shard);
}

/* A request that was not carried out yet may arrive later, on the old connection. */
static void leave_ghost(struct world *world, const struct wire *wire, int shard)
{
    if (wire->request == NULL || wire->step != 0 || world->ghosts_count == GHOSTS_MAX)
        return;
    world->ghosts[world->ghosts_count++] = (struct ghost){
        .node = node_of(shard), .connection = wire->connection, .request = wire->request};
}

void process_disconnect(struct world *world, struct process *process, int shard, bool ghost)
{
    struct wire *wire = &process->wires[shard];

    if (!wire->up)
        return;
    NOTE(world, "P%d loses its connection to shard %d%s%s", process_number(world, process), shard,
         wire->request == NULL ? ""
         : wire->step == 0     ? ", request not carried out"
                               : ", answer lost",
         ghost && wire->request != NULL && wire->step == 0 ? " yet" : "");
    if (ghost)
        leave_ghost(world, wire, shard);
    *wire = (struct wire){0};
    machine_disconnected(process->machine, shard);
}

void process_crash(struct world *world, struct process *process)
{
    NOTE(world, "P%d crashes", process_number(world, process));
    world->quarantined += machine_stats(process->machine)->quarantined;
    for (int s = 0; s < SHARDS; s++)
        if (world_chance(world, 50))
            leave_ghost(world, &process->wires[s], s);
    machine_destroy(process->machine);
    process_start(world, process);
}

static const char *request_name(const struct store_request *request)
{
    static const char *const names[] = {"CLAIM", "START", "READ", "EXEC", "TRIM", "ROWS"};

    return names[request->kind];
}

static void note_exec(const struct world *world, const struct store_request *request,
                      const struct store_reply *reply)
{
    char text[400];
    int used = 0;

    for (int i = 0; i < request->ms_count && used < 300; i++)
        used += snprintf(text + used, sizeof text - (size_t)used, " p%d%s%.0lld%s",
                         (int)store_tp_partition(request->ms[i].tp),
                         request->ms[i].has_state ? "->" : "",
                         request->ms[i].has_state ? (long long)request->ms[i].state.next : 0,
                         request->ms[i].has_stamp ? " stamped" : "");
    for (int i = 0; i < request->writes_count && used < 300; i++)
        used += snprintf(text + used, sizeof text - (size_t)used, " %.*s%s",
                         TEXT_ARGS(request->writes[i].user), request->writes[i].whole ? "=" : "~");
    for (int i = 0; i < request->appends_count && used < 300; i++)
        used += snprintf(text + used, sizeof text - (size_t)used, " row p%d %lld",
                         (int)store_tp_partition(request->appends[i].tp),
                         (long long)request->appends[i].id.high);
    text[used] = 0;
    world_note(world, "    %s%s",
               reply->result == STORE_OK    ? "carried out:"
               : reply->result == STORE_NIL ? "aborted:"
                                            : "refused:",
               text);
}

/* One owner at a time: whoever moves `next` holds the token that is stored. */
static void check_owner(struct world *world, struct process *process,
                        const struct store_request *request, const struct store_reply *reply)
{
    struct store_model *node = &world->nodes[node_of(request->shard)];

    if (request->kind == STORE_CLAIM && reply->result == STORE_OK)
        memcpy(process->tokens[store_tp_partition(request->tp)][request->shard], request->token,
               STORE_TOKEN_BYTES);
    if (request->kind != STORE_EXEC || reply->result != STORE_OK)
        return;
    for (int i = 0; i < request->ms_count; i++) {
        const struct store_m_write *write = &request->ms[i];
        int log = store_tp_partition(write->tp);
        const struct model_key *m = store_model_find(node, MODEL_M, request->shard, write->tp,
                                                     (struct text){0});

        if (write->has_state &&
            memcmp(m->now.m.token, process->tokens[log][request->shard], STORE_TOKEN_BYTES) != 0)
            world_violation(world, "an owner that was fenced wrote", "P%d p%d shard %d",
                            process_number(world, process), log, request->shard);
    }
}

/* Once a user's erasure is stored, no row of the user from before it waits for the relay. */
static void check_forgotten(struct world *world, const struct store_request *request,
                            const struct store_write *write, int user)
{
    struct store_model *node = &world->nodes[node_of(request->shard)];
    const struct model_key *key = store_model_find(node, MODEL_USER, request->shard, 0,
                                                   write->user);
    uint64_t hash = rules_user_hash(world->rules, write->user);
    struct user_header header;

    if (key == NULL || !user_value_header(&header, key->now.bytes, key->now.bytes_count) ||
        header.erased_at_ms == 0)
        return;
    for (int l = 0; l < world->logs_count; l++) {
        const struct model_key *outbox = store_model_find(
            node, MODEL_OUTBOX, request->shard, user_value_writer(l, 0), (struct text){0});
        for (int r = 0; outbox != NULL && r < outbox->now.rows_count; r++)
            if (example_holds(outbox->now.rows[r].bytes, outbox->now.rows[r].bytes_count, hash,
                              header.erased_at_ms))
                world_violation(world, "an erased user's row still waits", "p%d/%llu of %s", l,
                                (unsigned long long)outbox->now.rows[r].id.high - 1,
                                workload_user(user).at);
    }
}

static void check_writes(struct world *world, const struct store_request *request,
                         const struct store_reply *reply)
{
    bool changed = false;

    for (int l = 0; l < world->logs_count; l++)
        changed |= world->old_logs[l].count > 0;
    if (request->kind != STORE_EXEC || reply->result != STORE_OK || changed)
        return;
    for (int i = 0; i < request->writes_count; i++)
        for (int u = 0; u < USERS; u++)
            if (!world->moved[u] && !world->unsure[u] &&
                text_equal(request->writes[i].user, workload_user(u)))
                check_forgotten(world, request, &request->writes[i], u);
}

/* The next step of what is on the wire: carry out, or hand the answer over. */
void process_wire(struct world *world, struct process *process, int shard)
{
    struct wire *wire = &process->wires[shard];
    struct store_model *node = &world->nodes[node_of(shard)];

    if (!wire->up) {
        connect_wire(world, process, shard);
        return;
    }
    if (wire->request == NULL)
        return;
    if (wire->step >= 0) {
        int before = wire->step;

        wire->step = store_model_step(node, &wire->connection, wire->request, wire->step,
                                      wire->reply);
        if (before == 0) {
            check_owner(world, process, wire->request, wire->reply);
            check_writes(world, wire->request, wire->reply);
        }
        if (world->show && before == 0) {
            world_note(world, "P%d %s at shard %d", process_number(world, process),
                       request_name(wire->request), shard);
            if (wire->request->kind == STORE_EXEC)
                note_exec(world, wire->request, wire->reply);
        }
        return;
    }
    wire->request = NULL;
    machine_reply(process->machine, shard, wire->reply);
}

/* ---- Kafka ---- */

/* The group's view: what the process owns, as it hears of it. */
void process_notice(struct world *world, struct process *process)
{
    int self = process_number(world, process);
    struct error err;

    for (int l = 0; l < world->logs_count; l++) {
        struct consumer *consumer = &process->consumers[l];
        bool owned = world->owner[l] == self;

        if (owned == consumer->owned)
            continue;
        NOTE(world, "P%d %s p%d", self, owned ? "is given" : "gives up", l);
        *consumer = (struct consumer){.owned = owned};
        process->stopped[l] = false;
        if (!owned)
            machine_revoked(process->machine, l);
        else if (machine_assigned(process->machine, l, 0, &err) != OK)
            world_violation(world, "machine_assigned", "%s", err.text);
    }
    machine_polled(process->machine);
}

static void feed_one(struct world *world, struct process *process, int number, int64_t offset,
                     uint64_t epoch)
{
    const struct entry *entry = &world->logs[number].entries[offset];
    struct machine_record record = {
        .partition = number,
        .epoch = epoch,
        .offset = offset,
        .timestamp_ms = entry->timestamp_ms,
        .hash = entry->hash,
        .refusal = entry->kind == ENTRY_DEAD ? REFUSAL_NOT_JSON : REFUSAL_NONE,
        .event = entry->kind == ENTRY_DEAD ? NULL : &entry->event,
        .value = {entry->text, strlen(entry->text)},
    };
    struct error err;

    if (entry->kind == ENTRY_GAP)
        return;
    NOTE(world, "P%d reads p%d/%lld %s", process_number(world, process), number, (long long)offset,
         entry->text);
    if (machine_record(process->machine, &record, &err) != OK)
        world_violation(world, "machine_record", "%s", err.text);
}

/* The log begins after what was asked for: Kafka says so, and the loop claims anew. */
static void out_of_range(struct world *world, struct process *process, int number)
{
    struct error err;

    process->consumers[number] = (struct consumer){.owned = true};
    if (machine_assigned(process->machine, number, 0, &err) != OK)
        world_violation(world, "machine_assigned", "%s", err.text);
}

void process_feed(struct world *world, struct process *process, int number)
{
    struct consumer *consumer = &process->consumers[number];
    const struct log *log = &world->logs[number];
    int count = 1 + world_below(world, 4);

    if (consumer->old_epoch != 0 && consumer->old_position < log->high &&
        consumer->old_position >= log->low && world_chance(world, 30)) {
        /* fetched before the last assign, polled after it */
        feed_one(world, process, number, consumer->old_position++, consumer->old_epoch);
        return;
    }
    if (!consumer->assigned || consumer->paused)
        return;
    if (consumer->position < log->low) {
        out_of_range(world, process, number);
        return;
    }
    while (count-- > 0 && consumer->position < log->high && machine_room(process->machine) > 0 &&
           consumer->assigned)
        feed_one(world, process, number, consumer->position++, consumer->epoch);
}

static void assign(struct world *world, struct process *process,
                   const struct machine_command *command)
{
    struct consumer *consumer = &process->consumers[command->partition];

    NOTE(world, "P%d reads p%d from %lld", process_number(world, process), (int)command->partition,
         (long long)command->offset);
    if (consumer->assigned) {
        consumer->old_epoch = consumer->epoch;
        consumer->old_position = consumer->position;
    }
    consumer->assigned = true;
    consumer->paused = false;
    consumer->epoch = ++world->epochs;
    consumer->position = command->offset;
    machine_reading(process->machine, command->partition, command->ticket, consumer->epoch);
}

/* ---- commands ---- */

static void take_letter(struct world *world, struct process *process,
                        const struct machine_letter *letter)
{
    if (process->letters_count == LETTERS_MAX) {
        world_violation(world, "too many letters at once", "%d", LETTERS_MAX);
        return;
    }
    process->letters[process->letters_count].id = letter->id;
    process->letters[process->letters_count].log = letter->partition;
    process->letters[process->letters_count++].offset = letter->offset;
}

static void check_mark(struct world *world, const struct machine_command *command)
{
    int64_t want = workload_watermark(&world->logs[command->partition], command->offset);

    if (world->old_logs[command->partition].count == 0 && want != command->watermark_ms)
        world_violation(world, "a mark has another watermark", "p%d/%lld: %lld, want %lld",
                        (int)command->partition, (long long)command->offset,
                        (long long)command->watermark_ms, (long long)want);
}

static void stop(struct world *world, struct process *process,
                 const struct machine_command *command)
{
    NOTE(world, "P%d stops p%d: %s (state %lld, found %lld)", process_number(world, process),
         (int)command->partition, stop_reason_names[command->reason], (long long)command->offset,
         (long long)command->found);
    process->stopped[command->partition] = true;
    process->reason[command->partition] = command->reason;
    process->consumers[command->partition].assigned = false;
}

static void carry_out(struct world *world, struct process *process,
                      const struct machine_command *command)
{
    const struct log *log = &world->logs[command->partition];
    struct wire *wire = &process->wires[command->shard];

    switch (command->kind) {
    case COMMAND_STORE:
        wire->request = store_model_copy(world->arena, command->store);
        wire->reply = arena_alloc(world->arena, sizeof *wire->reply);
        wire->step = 0;
        break;
    case COMMAND_LIMITS:
        machine_limits(process->machine, command->partition, command->ticket, log->low, log->high,
                       world->group[command->partition]);
        break;
    case COMMAND_ASSIGN:
        assign(world, process, command);
        break;
    case COMMAND_PAUSE:
    case COMMAND_RESUME:
        process->consumers[command->partition].paused = command->kind == COMMAND_PAUSE;
        break;
    case COMMAND_LETTER:
        take_letter(world, process, &command->letter);
        break;
    case COMMAND_HINT:
        NOTE(world, "P%d hints p%d/%lld", process_number(world, process), (int)command->partition,
             (long long)command->offset);
        world->group[command->partition] = command->offset;
        break;
    case COMMAND_MARK:
        check_mark(world, command);
        break;
    case COMMAND_OUTBOX:
        break;
    case COMMAND_STOP:
        stop(world, process, command);
        break;
    }
}

void process_pump(struct world *world, struct process *process, int most)
{
    struct machine_command command;

    machine_time(process->machine, world_wall_ms(world), world->now_us);
    while (most-- > 0 && machine_next(process->machine, &command))
        carry_out(world, process, &command);
}

/* ---- producers ---- */

void process_letters(struct world *world, struct process *process)
{
    int index;

    if (process->letters_count == 0)
        return;
    index = world_below(world, process->letters_count);
    world->letters[process->letters[index].log][process->letters[index].offset] = true;
    machine_letter_delivered(process->machine, process->letters[index].id);
    process->letters[index] = process->letters[--process->letters_count];
}

void process_relay(struct world *world, struct process *process, int number, int shard)
{
    struct model_key *outbox = store_model_find(&world->nodes[node_of(shard)], MODEL_OUTBOX, shard,
                                                user_value_writer(number, 0), (struct text){0});
    int count = 1 + world_below(world, 3);

    if (!process->consumers[number].owned || outbox == NULL || outbox->now.rows_count == 0 ||
        process->flights_count == FLIGHTS_MAX)
        return;
    for (int i = 0; i < process->flights_count; i++)
        if (process->flights[i].log == number && process->flights[i].shard == shard)
            return;
    if (count > outbox->now.rows_count)
        count = outbox->now.rows_count;
    process->flights[process->flights_count++] = (struct flight){
        .log = number, .shard = shard, .rows = outbox->now.rows, .count = count};
}

/* Kafka has the rows; then they are trimmed. */
void process_land(struct world *world, struct process *process)
{
    struct store_id ids[4];
    struct flight *flight;

    if (process->flights_count == 0)
        return;
    flight = &process->flights[world_below(world, process->flights_count)];
    if (!flight->landed) {
        for (int i = 0; i < flight->count; i++) {
            if (world->published_count == EXAMPLES_MAX) {
                world_violation(world, "too many examples", "%d", EXAMPLES_MAX);
                return;
            }
            world->published[world->published_count++] = (struct published){
                flight->log, flight->shard, &flight->rows[i]};
        }
        flight->landed = true;
        return;
    }
    for (int i = 0; i < flight->count; i++)
        ids[i] = flight->rows[i].id;
    if (machine_trim(process->machine, flight->log, flight->shard, ids, flight->count))
        *flight = process->flights[--process->flights_count];
}
