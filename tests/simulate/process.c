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

/* After whatever a machine was told or asked: what did it go through? */
static void look(struct world *world, struct process *process)
{
    const char *wrong = coverage_look(world->coverage, &process->glimpse, process->machine);

    world->acted = true;
    if (wrong != NULL)
        world_violation(world, "a transition that must not be", "to %s, P%d", wrong,
                        process_number(world, process));
}

void process_start(struct world *world, struct process *process)
{
    struct machine_options options = world->options;
    struct error err;

    *process = (struct process){.serial = ++world->serials};
    options.random = draw;
    options.random_context = world;
    if (machine_create(&process->machine, &options, &err) != OK) {
        world_violation(world, "machine_create", "%s", err.text);
        return;
    }
    machine_time(process->machine, world_wall_ms(world), world->now_us);
}

void process_end(struct world *world, struct process *process)
{
    coverage_end(world->coverage, process->machine);
    machine_destroy(process->machine);
    process->machine = NULL;
}

static bool owns_something(const struct world *world, const struct process *process)
{
    bool owns = false;

    for (int l = 0; l < world->logs_count; l++)
        owns |= process->consumers[l].owned;
    return owns;
}

/* ---- connections ---- */

static void connect_wire(struct world *world, struct process *process, int shard)
{
    struct wire *wire = &process->wires[shard];

    *wire = (struct wire){.up = true};
    wire->connection.epoch = world->nodes[node_of(shard)].epoch;
    machine_connected(process->machine, shard);
    for (int l = 0; l < world->logs_count; l++)
        process->told[l][shard] |= process->consumers[l].owned;
    look(world, process);
}

/* A request that was not carried out yet may arrive later, on the old connection. */
static void leave_ghost(struct world *world, const struct wire *wire, int shard)
{
    struct ghost *ghost = &world->ghosts[world->ghosts_count];

    if (wire->request == NULL || wire->step != 0 || world->ghosts_count == GHOSTS_MAX)
        return;
    world->ghosts_count++;
    *ghost = (struct ghost){
        .node = node_of(shard), .connection = wire->connection, .request = wire->request};
    memcpy(ghost->claims, wire->claims, sizeof ghost->claims);
}

enum fault_kind process_disconnect(struct world *world, struct process *process, int shard,
                                   bool ghost)
{
    static const char *const texts[FAULT_COUNT] = {
        [FAULT_IDLE_LOSS] = "",
        [FAULT_LOST_REQUEST] = ", its request was not carried out",
        [FAULT_LOST_REPLY] = ", its answer is lost"};
    struct wire *wire = &process->wires[shard];
    enum fault_kind kind = wire->request == NULL ? FAULT_IDLE_LOSS
                           : wire->step == 0     ? FAULT_LOST_REQUEST
                                                 : FAULT_LOST_REPLY;

    if (!wire->up)
        return FAULT_COUNT;
    NOTE(world, "P%d loses its connection to shard %d%s%s", process_number(world, process), shard,
         texts[kind], ghost && kind == FAULT_LOST_REQUEST ? " yet" : "");
    if (wire->request != NULL)
        world->coverage->answers[wire->request->kind][ENDING_LOST]++;
    if (ghost)
        leave_ghost(world, wire, shard);
    *wire = (struct wire){0};
    machine_disconnected(process->machine, shard);
    look(world, process);
    return kind;
}

void process_count(struct world *world, const struct process *process)
{
    const struct machine_stats *stats = machine_stats(process->machine);

    world->quarantined += stats->quarantined;
    world->behind += stats->behind;
}

static void replace(struct world *world, struct process *process)
{
    process_count(world, process);
    process_end(world, process);
    process_start(world, process);
}

bool process_crash(struct world *world, int number)
{
    struct process *process = &world->processes[number];

    if (!owns_something(world, process))
        return false;
    NOTE(world, "CRASH of P%d", number);
    for (int s = 0; s < SHARDS; s++)
        if (world_chance(world, 50))
            leave_ghost(world, &process->wires[s], s);
    replace(world, process);
    return true;
}

bool process_leave(struct world *world, int number)
{
    struct process *process = &world->processes[number];

    if (process->leaving || !owns_something(world, process))
        return false;
    NOTE(world, "P%d is told to end", number);
    process->leaving = true;
    machine_drain(process->machine);
    look(world, process);
    return true;
}

static const char *request_name(const struct store_request *request)
{
    static const char *const names[] = {"CLAIM", "START", "READ", "EXEC", "TRIM", "ROWS"};

    return names[request->kind];
}

static void note_exec(const struct world *world, int number, const struct store_request *request,
                      const struct store_reply *reply)
{
    char text[400];
    int used = 0;

    for (int i = 0; i < request->ms_count && used < 300; i++) {
        used += snprintf(text + used, sizeof text - (size_t)used, " p%d",
                         (int)store_tp_partition(request->ms[i].tp));
        if (request->ms[i].has_state)
            used += snprintf(text + used, sizeof text - (size_t)used, "->%lld",
                             (long long)request->ms[i].state.next);
        if (request->ms[i].has_stamp)
            used += snprintf(text + used, sizeof text - (size_t)used, " stamped");
    }
    for (int i = 0; i < request->writes_count && used < 300; i++)
        used += snprintf(text + used, sizeof text - (size_t)used, " %.*s%s",
                         TEXT_ARGS(request->writes[i].user), request->writes[i].whole ? "=" : "~");
    for (int i = 0; i < request->appends_count && used < 300; i++)
        used += snprintf(text + used, sizeof text - (size_t)used, " row p%d %lld",
                         (int)store_tp_partition(request->appends[i].tp),
                         (long long)request->appends[i].id.high);
    text[used] = 0;
    world_note(world, "P%d EXEC in shard %d%s:%s", number, request->shard,
               reply->result == STORE_OK    ? ""
               : reply->result == STORE_NIL ? " aborted"
                                            : " refused",
               text);
}

/* One owner at a time: `next` is moved only by a request that was made under the claim that was
 * carried out last in its shard. So once all shards have answered a claim, no request of an older
 * one is carried out, be it late, repeated or a zombie's, unless a failover loses the claim itself.
 * Claims are told apart by numbers of the simulator's own, for tokens may be what is broken. */
static void check_owner(struct world *world, const uint64_t claims[LOGS_MAX],
                        const struct store_request *request, const struct store_reply *reply)
{
    struct store_model *node = &world->nodes[node_of(request->shard)];

    if (request->kind != STORE_EXEC || reply->result != STORE_OK)
        return;
    for (int i = 0; i < request->ms_count; i++) {
        const struct store_m_write *write = &request->ms[i];
        int log = store_tp_partition(write->tp);
        const struct model_key *m = store_model_find(node, MODEL_M, request->shard, write->tp,
                                                     (struct text){0});

        if (write->has_state && (m == NULL || m->now.claim != claims[log]))
            world_violation(world, "an owner that was fenced wrote", "p%d shard %d", log,
                            request->shard);
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

static void check_carried_out(struct world *world, const uint64_t claims[LOGS_MAX],
                              const struct store_request *request, const struct store_reply *reply)
{
    bool changed = false;

    check_owner(world, claims, request, reply);
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

bool process_ghost(struct world *world, int index)
{
    struct ghost ghost = world->ghosts[index];
    struct store_reply reply;

    world->ghosts[index] = world->ghosts[--world->ghosts_count];
    if (ghost.connection.epoch != world->nodes[ghost.node].epoch)
        return false;
    store_model_run(&world->nodes[ghost.node], &ghost.connection, ghost.request, &reply);
    NOTE(world, "a delayed %s of shard %d arrives: %s", request_name(ghost.request),
         ghost.request->shard, reply.result == STORE_OK ? "carried out" : "aborted");
    check_carried_out(world, ghost.claims, ghost.request, &reply);
    return true;
}

/* Only what may change something, or tells something. */
static void note_request(struct world *world, const struct process *process, int shard,
                         const struct store_request *request, const struct store_reply *reply)
{
    int number = process_number(world, process);
    const struct store_m *m = reply->ms;

    if (request->kind == STORE_CLAIM && reply->result == STORE_OK)
        world_note(world, "P%d claims p%d in shard %d: next %lld", number,
                   store_tp_partition(request->tp), shard,
                   m->has_state ? (long long)m->state.next : -1);
    else if (request->kind == STORE_READ && request->users_count > 0)
        world_note(world, "P%d reads users in shard %d", number, shard);
    else if (request->kind == STORE_TRIM || reply->result == STORE_REFUSED)
        world_note(world, "P%d %s in shard %d%s", number, request_name(request), shard,
                   reply->result == STORE_REFUSED ? ": refused" : "");
    else if (request->kind == STORE_EXEC &&
             (reply->result != STORE_OK || request->ms_count + request->writes_count > 0))
        note_exec(world, number, request, reply);
}

/* The commit stands, but the connection failed to read what the next one is decided on. */
static void maybe_fail_read(struct world *world, struct wire *wire)
{
    if (wire->request->kind != STORE_EXEC || wire->reply->result == STORE_REFUSED || world->calm ||
        !world->features.lost || !world_chance(world, 2))
        return;
    wire->reply->ms_count = 0;
    world->faults++;
    world->coverage->faults[FAULT_READ_FAILED]++;
    NOTE(world, "the read behind an EXEC in shard %d fails", wire->request->shard);
}

static bool moves(const struct store_request *request, int log)
{
    for (int i = 0; i < request->ms_count; i++)
        if (request->ms[i].has_state && store_tp_partition(request->ms[i].tp) == log)
            return true;
    return false;
}

/* Is this commit about to take a value over from another partition of its process, which it does
 * not move? The log whose records do it, or -1. */
static int takes_from_own(struct world *world, int number, const struct store_request *request)
{
    struct store_model *node = &world->nodes[node_of(request->shard)];

    for (int i = 0; i < request->writes_count && request->ms_count > 0; i++) {
        const struct model_key *key = store_model_find(node, MODEL_USER, request->shard, 0,
                                                       request->writes[i].user);
        int log = store_tp_partition(request->ms[0].tp), of;
        struct user_header header;

        if (key == NULL || key->now.bytes_count == 0 ||
            !user_value_header(&header, key->now.bytes, key->now.bytes_count))
            continue;
        of = store_tp_partition(header.writer);
        if (world->owner[of] == number && !moves(request, of) && moves(request, log) &&
            world->owner[log] == number)
            return log;
    }
    return -1;
}

/* A hiccup that lasts: the answer to such a commit is lost, and before the process can look at what
 * became of it, the partition of its records is gone, too. What is left is the other partition,
 * whose `next` never moved, and a cache from before. */
static void maybe_hiccup(struct world *world, struct process *process, int shard, int log)
{
    int number = process_number(world, process);

    if (log < 0 || process->wires[shard].reply->result != STORE_OK || world->calm ||
        !world->features.lost || !world->features.zombie || !world_chance(world, 60))
        return;
    world->coverage->faults[process_disconnect(world, process, shard, false)]++;
    world->owner[log] = (number + 1 + world_below(world, PROCESSES - 1)) % PROCESSES;
    NOTE(world, "REBALANCE: p%d belongs to P%d, and P%d knows", log, world->owner[log], number);
    process_give_up(world, process, log);
    world->coverage->faults[FAULT_REBALANCE]++;
    world->faults += 2;
}

/* The moment behind a commit that ends at a gap: what is queued behind the gap is not applied yet,
 * and an unclean election may put another record there. */
static void maybe_cut(struct world *world, const struct store_request *request,
                      const struct store_reply *reply)
{
    if (request->kind != STORE_EXEC || reply->result != STORE_OK || world->calm ||
        !world->features.relog)
        return;
    for (int i = 0; i < request->ms_count; i++)
        if (request->ms[i].has_state && world_chance(world, 60))
            world_cut(world, store_tp_partition(request->ms[i].tp));
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
    world->acted = true;
    if (wire->step >= 0) {
        const struct store_request *request = wire->request;
        const struct store_reply *reply = wire->reply;
        int before = wire->step;
        int taking = before > 0 ? -1
                                : takes_from_own(world, process_number(world, process), request);

        wire->step = store_model_step(node, &wire->connection, wire->request, wire->step,
                                      wire->reply);
        if (before > 0)
            return;
        check_carried_out(world, wire->claims, wire->request, wire->reply);
        if (world->show)
            note_request(world, process, shard, wire->request, wire->reply);
        maybe_hiccup(world, process, shard, taking);
        maybe_cut(world, request, reply);
        return;
    }
    maybe_fail_read(world, wire);
    if (wire->request->kind == STORE_START && wire->reply->offset == STORE_NO_OFFSET)
        world->start_lost[store_tp_partition(wire->request->tp)] = true;
    world->coverage->answers[wire->request->kind][wire->reply->result]++;
    wire->request = NULL;
    machine_reply(process->machine, shard, wire->reply);
    look(world, process);
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
        look(world, process);
    }
    machine_polled(process->machine);
    look(world, process);
}

void process_assign(struct world *world, struct process *process, int log)
{
    struct error err;

    if (!process->consumers[log].owned)
        return;
    process->consumers[log] = (struct consumer){.owned = true};
    process->stopped[log] = false;
    if (machine_assigned(process->machine, log, 0, &err) != OK)
        world_violation(world, "machine_assigned", "%s", err.text);
    look(world, process);
}

void process_give_up(struct world *world, struct process *process, int log)
{
    if (process->consumers[log].owned) {
        machine_revoked(process->machine, log);
        look(world, process);
    }
    process->consumers[log] = (struct consumer){0};
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
        .replayed = entry->replayed,
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
    look(world, process);
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
        /* The log begins after what was asked for: Kafka says so, and the loop claims anew. */
        process_assign(world, process, number);
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
    for (int s = 0; s < SHARDS; s++)
        process->told[command->partition][s] = true;
    machine_reading(process->machine, command->partition, command->ticket, consumer->epoch);
    look(world, process);
}

/* ---- commands ---- */

static void take_letter(struct world *world, struct process *process,
                        const struct machine_letter *letter)
{
    if (process->letters_count == LETTERS_MAX) {
        world_violation(world, "too many letters at once", "%d", LETTERS_MAX);
        return;
    }
    world->coverage->letters[letter->refusal]++;
    process->letters[process->letters_count].id = letter->id;
    process->letters[process->letters_count].log = letter->partition;
    process->letters[process->letters_count++].offset = letter->offset;
}

static bool was_published(const struct world *world, int log, struct store_id id)
{
    for (int i = 0; i < world->published_count; i++)
        if (world->published[i].log == log &&
            store_id_compare(world->published[i].row->id, id) == 0)
            return true;
    return false;
}

/* A row is on its way: what comes behind it is looked for again. */
static bool is_busy(const struct process *process, int log, int shard)
{
    for (int i = 0; i < process->flights_count; i++)
        if (process->flights[i].log == log && process->flights[i].shard == shard)
            return true;
    return false;
}

/* A mark waits for the rows below it that the relay knows of. */
static void check_told(struct world *world, const struct process *process, int log, int64_t offset)
{
    for (int s = 0; s < SHARDS; s++) {
        const struct model_key *outbox = store_model_find(&world->nodes[node_of(s)], MODEL_OUTBOX,
                                                          s, user_value_writer(log, 0),
                                                          (struct text){0});

        if (outbox == NULL || process->told[log][s] || is_busy(process, log, s))
            continue;
        for (int r = 0; r < outbox->now.rows_count; r++) {
            struct store_id id = outbox->now.rows[r].id;

            if ((int64_t)id.high - 1 < offset && !was_published(world, log, id))
                world_violation(world, "a mark overtakes a row", "p%d/%lld in shard %d", log,
                                (long long)id.high - 1, s);
        }
    }
}

static void check_mark(struct world *world, const struct process *process,
                       const struct machine_command *command)
{
    int64_t want = workload_watermark(&world->logs[command->partition], command->offset);

    check_told(world, process, command->partition, command->offset);
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
    world->coverage->stops[command->reason]++;
    process->stopped[command->partition] = true;
    process->reason[command->partition] = command->reason;
    process->consumers[command->partition].assigned = false;
}

/* The request goes on the wire, with the claims it was made under. */
static void send(struct world *world, struct process *process, const struct store_request *request)
{
    struct wire *wire = &process->wires[request->shard];

    wire->request = store_model_copy(world->arena, request);
    wire->reply = arena_alloc(world->arena, sizeof *wire->reply);
    wire->step = 0;
    if (request->kind == STORE_CLAIM) {
        int log = store_tp_partition(request->tp);
        uint64_t claim = process->serial << 32 | process->glimpse.generations[log];

        wire->request->offset = (int64_t)claim;
        process->claims[log][request->shard] = claim;
    }
    for (int l = 0; l < world->logs_count; l++)
        wire->claims[l] = process->claims[l][request->shard];
}

static void carry_out(struct world *world, struct process *process,
                      const struct machine_command *command)
{
    const struct log *log = &world->logs[command->partition];

    world->coverage->commands[command->kind]++;
    switch (command->kind) {
    case COMMAND_STORE:
        send(world, process, command->store);
        break;
    case COMMAND_LIMITS:
        machine_limits(process->machine, command->partition, command->ticket, log->low, log->high,
                       world->group[command->partition]);
        look(world, process);
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
        check_mark(world, process, command);
        break;
    case COMMAND_OUTBOX:
        process->told[command->partition][command->shard] = true;
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
    look(world, process);
    while (most-- > 0 && machine_next(process->machine, &command)) {
        look(world, process);
        carry_out(world, process, &command);
    }
    if (process->leaving && machine_drained(process->machine)) {
        NOTE(world, "P%d ends", process_number(world, process));
        replace(world, process);
    }
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
    look(world, process);
    process->letters[index] = process->letters[--process->letters_count];
}

void process_relay(struct world *world, struct process *process, int number, int shard)
{
    struct model_key *outbox = store_model_find(&world->nodes[node_of(shard)], MODEL_OUTBOX, shard,
                                                user_value_writer(number, 0), (struct text){0});
    int count = 1 + world_below(world, 3);

    if (!process->consumers[number].owned || !process->told[number][shard] ||
        process->flights_count == FLIGHTS_MAX || is_busy(process, number, shard))
        return;
    if (outbox == NULL || outbox->now.rows_count <= count)
        process->told[number][shard] = false; /* this takes all there is */
    if (outbox == NULL || outbox->now.rows_count == 0)
        return;
    if (count > outbox->now.rows_count)
        count = outbox->now.rows_count;
    process->flights[process->flights_count++] = (struct flight){
        .log = number, .shard = shard, .rows = outbox->now.rows, .count = count};
    world->acted = true;
}

/* Kafka has the rows; then they are trimmed. */
void process_land(struct world *world, struct process *process)
{
    struct store_id ids[4];
    struct flight *flight;

    if (process->flights_count == 0)
        return;
    flight = &process->flights[world_below(world, process->flights_count)];
    world->acted = true;
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
    if (!machine_trim(process->machine, flight->log, flight->shard, ids, flight->count))
        return;
    process->told[flight->log][flight->shard] = true; /* the trim may fail: it looks again */
    *flight = process->flights[--process->flights_count];
}
