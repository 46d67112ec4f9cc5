/* tests/support/store_model.c - see store_model.h. */
#include "tests/support/store_model.h"

#include "machine/defences.h"
#include "ops/hash.h"

#include <assert.h>
#include <string.h>

#define TABLE_FIRST 64
#define UNDO_MAX    16

/* What a write group changed: contents before it, newest first. */
struct saved {
    struct saved *next;
    int key;
    struct model_content before;
};

struct model_undo {
    struct saved *saved;
};

/* ---- keys ---- */

void store_model_init(struct store_model *model, struct arena *arena)
{
    *model = (struct store_model){.arena = arena,
                                  .keys_max = TABLE_FIRST / 2,
                                  .table_mask = TABLE_FIRST - 1,
                                  .undo_max = UNDO_MAX,
                                  .epoch = 1};
    model->keys = arena_alloc(arena, (size_t)model->keys_max * sizeof model->keys[0]);
    model->table = arena_alloc_zeroed(arena, TABLE_FIRST * sizeof model->table[0]);
    model->undo = arena_alloc_zeroed(arena, UNDO_MAX * sizeof model->undo[0]);
    assert(model->keys != NULL && model->table != NULL && model->undo != NULL);
}

static uint32_t slot_of(const struct store_model *model, enum model_kind kind, int shard,
                        uint32_t tp, struct text user)
{
    uint64_t hash = hash64_mix(((uint64_t)kind << 32 | (uint32_t)shard), tp);

    if (user.bytes > 0)
        hash = hash64_mix(hash, hash64_text(user, 7));
    return (uint32_t)hash & model->table_mask;
}

static bool is_key(const struct model_key *key, enum model_kind kind, int shard, uint32_t tp,
                   struct text user)
{
    return key->kind == kind && key->shard == shard && key->tp == tp && text_equal(key->user, user);
}

static void grow(struct store_model *model)
{
    int max = 2 * model->keys_max;
    uint32_t size = 4 * (uint32_t)max;
    struct model_key *keys = arena_alloc(model->arena, (size_t)max * sizeof keys[0]);

    assert(keys != NULL);
    memcpy(keys, model->keys, (size_t)model->keys_count * sizeof keys[0]);
    model->keys = keys;
    model->keys_max = max;
    model->table = arena_alloc_zeroed(model->arena, size * sizeof model->table[0]);
    assert(model->table != NULL);
    model->table_mask = size - 1;
    for (int i = 0; i < model->keys_count; i++) {
        const struct model_key *key = &keys[i];
        uint32_t at = slot_of(model, key->kind, key->shard, key->tp, key->user);
        while (model->table[at] != 0)
            at = (at + 1) & model->table_mask;
        model->table[at] = i + 1;
    }
}

/* Index of the key, made absent if there was none: a WATCH of an absent key counts too. */
static int key_index(struct store_model *model, enum model_kind kind, int shard, uint32_t tp,
                     struct text user)
{
    uint32_t at = slot_of(model, kind, shard, tp, user);

    while (model->table[at] != 0) {
        if (is_key(&model->keys[model->table[at] - 1], kind, shard, tp, user))
            return model->table[at] - 1;
        at = (at + 1) & model->table_mask;
    }
    if (model->keys_count == model->keys_max) {
        grow(model);
        return key_index(model, kind, shard, tp, user);
    }
    if (user.bytes > 0)
        user.at = arena_copy(model->arena, user.at, user.bytes);
    model->keys[model->keys_count] = (struct model_key){
        .kind = kind, .shard = shard, .tp = tp, .user = user};
    model->table[at] = ++model->keys_count;
    return model->keys_count - 1;
}

static struct model_key *key_at(struct store_model *model, int index)
{
    return &model->keys[index];
}

/* Expiry is a write that every replica has. */
void store_model_time(struct store_model *model, int64_t now_ms)
{
    bool any = false;

    model->now_ms = now_ms;
    if (model->expires_first_ms == 0 || now_ms < model->expires_first_ms)
        return;
    model->expires_first_ms = 0;
    for (int i = 0; i < model->keys_count; i++) {
        struct model_key *key = &model->keys[i];
        if (!key->now.present || key->now.expires_at_ms == 0)
            continue;
        if (key->now.expires_at_ms <= now_ms) {
            key->now = (struct model_content){0};
            key->version++;
            any = true;
        } else if (model->expires_first_ms == 0 ||
                   key->now.expires_at_ms < model->expires_first_ms) {
            model->expires_first_ms = key->now.expires_at_ms;
        }
    }
    if (any)
        store_model_forget_undo(model);
}

struct model_key *store_model_find(struct store_model *model, enum model_kind kind, int shard,
                                   uint32_t tp, struct text user)
{
    struct model_key *key = key_at(model, key_index(model, kind, shard, tp, user));

    return key->now.present ? key : NULL;
}

static struct model_key *user_key(struct store_model *model, int shard, struct text user)
{
    return key_at(model, key_index(model, MODEL_USER, shard, 0, user));
}

static struct model_key *tp_key(struct store_model *model, enum model_kind kind, int shard,
                                uint32_t tp)
{
    return key_at(model, key_index(model, kind, shard, tp, (struct text){0}));
}

/* ---- writes and their loss ---- */

static void begin_group(struct store_model *model)
{
    if (model->undo_count == model->undo_max) {
        memmove(model->undo, model->undo + 1,
                (size_t)(model->undo_count - 1) * sizeof model->undo[0]);
        model->undo_count--;
    }
    model->undo[model->undo_count++] = (struct model_undo){NULL};
}

/* Before every change of a key within a group. */
static void touch(struct store_model *model, struct model_key *key)
{
    struct saved *saved = arena_alloc(model->arena, sizeof *saved);

    assert(saved != NULL && model->undo_count > 0);
    *saved = (struct saved){.next = model->undo[model->undo_count - 1].saved,
                            .key = (int)(key - model->keys),
                            .before = key->now};
    model->undo[model->undo_count - 1].saved = saved;
    key->version++;
}

int store_model_rollback(struct store_model *model, int groups)
{
    int lost = 0;

    for (; lost < groups && model->undo_count > 0; lost++) {
        const struct saved *saved = model->undo[--model->undo_count].saved;
        for (; saved != NULL; saved = saved->next) {
            model->keys[saved->key].now = saved->before;
            model->keys[saved->key].version++;
        }
    }
    model->epoch++;
    return lost;
}

void store_model_forget_undo(struct store_model *model)
{
    model->undo_count = 0;
}

void store_model_empty(struct store_model *model)
{
    for (int i = 0; i < model->keys_count; i++) {
        model->keys[i].now = (struct model_content){0};
        model->keys[i].version++;
    }
    store_model_forget_undo(model);
    model->epoch++;
}

void store_model_delete(struct store_model *model, struct model_key *key)
{
    key->now = (struct model_content){0};
    key->version++;
    store_model_forget_undo(model);
}

void store_model_damage(struct store_model *model, struct model_key *m)
{
    m->now.bad_type = m->now.m.damaged = true;
    m->version++;
    store_model_forget_undo(model);
}

void store_model_plant(struct store_model *model, int shard, struct text user, const uint8_t *bytes,
                       size_t bytes_count)
{
    struct model_key *key = user_key(model, shard, user);

    store_model_delete(model, key);
    key->now.present = true;
    key->now.bad_type = bytes == NULL;
    if (bytes != NULL)
        key->now.bytes = arena_copy(model->arena, bytes, bytes_count);
    key->now.bytes_count = bytes_count;
}

/* ---- WATCH ---- */

static void watch(struct store_model *model, struct model_connection *connection, int index)
{
    for (int i = 0; i < connection->watches_count; i++)
        if (connection->watches[i].key == index)
            return; /* Redis keeps the first one too */
    assert(connection->watches_count < STORE_MODEL_WATCHES);
    connection->watches[connection->watches_count].key = index;
    connection->watches[connection->watches_count++].version = key_at(model, index)->version;
}

static bool watches_hold(struct store_model *model, const struct model_connection *connection)
{
    for (int i = 0; i < connection->watches_count; i++)
        if (key_at(model, connection->watches[i].key)->version != connection->watches[i].version)
            return false;
    return true;
}

/* ---- the commands ---- */

static void claim(struct store_model *model, const struct store_request *request,
                  struct store_reply *reply)
{
    struct model_key *m, *outbox;
    struct store_m *read = arena_alloc(model->arena, sizeof *read);

    (void)tp_key(model, MODEL_OUTBOX, request->shard, request->tp); /* may move the keys */
    m = tp_key(model, MODEL_M, request->shard, request->tp);
    outbox = tp_key(model, MODEL_OUTBOX, request->shard, request->tp);
    begin_group(model);
    if (!m->now.bad_type) {
        touch(model, m);
        m->now.present = true;
        m->now.m.has_token = true;
        memcpy(m->now.m.token, request->token, STORE_TOKEN_BYTES);
        m->now.claim = (uint64_t)request->offset;
    }
    *read = m->now.m;
    *reply = (struct store_reply){.ms = read, .ms_count = 1};
    if (outbox->now.present)
        reply->outbox = (struct store_outbox){outbox->now.bad_type ? STORE_BAD_TYPE : STORE_PRESENT,
                                              outbox->now.rows_count, outbox->now.last_id};
}

static void start(struct store_model *model, const struct store_request *request,
                  struct store_reply *reply)
{
    struct model_key *key = tp_key(model, MODEL_START, 0, request->tp);

    if (!key->now.present && request->offset >= 0) {
        begin_group(model);
        touch(model, key);
        key->now.present = true;
        key->now.offset = request->offset;
    }
    *reply = (struct store_reply){.offset = key->now.present ? key->now.offset : STORE_NO_OFFSET};
}

/* WATCH of everything, then the reads of m. */
static void watch_and_read(struct store_model *model, struct model_connection *connection,
                           const struct store_request *request, struct store_reply *reply)
{
    struct store_m *ms = arena_alloc(model->arena, (size_t)(request->tps_count + 1) * sizeof ms[0]);

    for (int i = 0; i < request->tps_count; i++)
        watch(model, connection,
              key_index(model, MODEL_M, request->shard, request->tps[i], (struct text){0}));
    for (int i = 0; i < request->users_count && DEFENCE_WATCH; i++)
        watch(model, connection,
              key_index(model, MODEL_USER, request->shard, 0, request->users[i]));
    for (int i = 0; i < request->tps_count; i++) {
        const struct model_key *key = tp_key(model, MODEL_M, request->shard, request->tps[i]);
        ms[i] = key->now.present ? key->now.m : (struct store_m){0};
        ms[i].damaged = key->now.bad_type;
    }
    reply->ms = ms;
    reply->ms_count = request->tps_count;
}

static void read_users(struct store_model *model, const struct store_request *request,
                       struct store_reply *reply)
{
    struct store_value *values = arena_alloc(model->arena,
                                             (size_t)(request->users_count + 1) * sizeof values[0]);

    for (int i = 0; i < request->users_count; i++) {
        const struct model_content *now = &user_key(model, request->shard, request->users[i])->now;
        values[i] = (struct store_value){!now->present   ? STORE_ABSENT
                                         : now->bad_type ? STORE_BAD_TYPE
                                                         : STORE_PRESENT,
                                         now->bytes, now->bytes_count};
    }
    reply->values = values;
    reply->values_count = request->users_count;
}

/* SET or SETRANGE with PEXPIRE. Returns the length, -1 for a wrong type. */
static int64_t write_user(struct store_model *model, int shard, const struct store_write *write)
{
    struct model_key *key = user_key(model, shard, write->user);
    struct model_content *now = &key->now;
    size_t bytes = write->count;
    uint8_t *image;

    if (!write->whole && now->present && now->bad_type)
        return -1;
    touch(model, key);
    if (!write->whole) {
        bytes = (size_t)write->at + write->count;
        if (now->bytes_count > bytes)
            bytes = now->bytes_count;
    }
    image = arena_alloc_zeroed(model->arena, bytes);
    assert(image != NULL);
    if (!write->whole && now->bytes_count > 0)
        memcpy(image, now->bytes, now->bytes_count);
    memcpy(image + (write->whole ? 0 : write->at), write->bytes, write->count);
    if (write->whole || !now->present)
        now->expires_at_ms = 0;
    now->present = true;
    now->bad_type = false;
    now->bytes = image;
    now->bytes_count = bytes;
    if (write->ttl_ms > 0) {
        now->expires_at_ms = model->now_ms + write->ttl_ms;
        if (model->expires_first_ms == 0 || now->expires_at_ms < model->expires_first_ms)
            model->expires_first_ms = now->expires_at_ms;
    }
    return (int64_t)bytes;
}

static void append(struct store_model *model, int shard, const struct store_append *append)
{
    struct model_key *key = tp_key(model, MODEL_OUTBOX, shard, append->tp);
    struct model_content *now = &key->now;
    struct model_row *rows;

    if (now->bad_type || store_id_compare(append->id, now->last_id) <= 0) {
        model->append_errors++;
        return;
    }
    touch(model, key);
    rows = arena_alloc(model->arena, (size_t)(now->rows_count + 1) * sizeof rows[0]);
    assert(rows != NULL);
    if (now->rows_count > 0)
        memcpy(rows, now->rows, (size_t)now->rows_count * sizeof rows[0]);
    rows[now->rows_count++] = (struct model_row){
        append->id, arena_copy(model->arena, append->bytes, append->bytes_count),
        append->bytes_count};
    now->rows = rows;
    now->present = true;
    now->last_id = append->id;
}

/* XDEL, in the group that is open. */
static void delete_row(struct store_model *model, struct model_key *key, struct store_id id)
{
    struct model_content *now = &key->now;
    struct model_row *rows = arena_alloc(model->arena,
                                         (size_t)(now->rows_count + 1) * sizeof rows[0]);
    int kept = 0;

    assert(rows != NULL);
    for (int r = 0; r < now->rows_count; r++)
        if (store_id_compare(now->rows[r].id, id) != 0)
            rows[kept++] = now->rows[r];
    if (kept == now->rows_count)
        return;
    touch(model, key);
    now->rows = rows;
    now->rows_count = kept;
}

static void write_m(struct store_model *model, int shard, const struct store_m_write *write)
{
    struct model_key *key = tp_key(model, MODEL_M, shard, write->tp);

    if (key->now.bad_type)
        return;
    touch(model, key);
    key->now.present = true;
    if (write->has_state) {
        key->now.m.has_state = true;
        key->now.m.state = write->state;
    }
    if (write->has_stamp)
        key->now.m.stamp = write->stamp;
}

static void exec(struct store_model *model, struct model_connection *connection,
                 const struct store_request *request, struct store_reply *reply)
{
    bool holds = watches_hold(model, connection);
    int64_t *lengths;

    connection->watches_count = 0;
    *reply = (struct store_reply){.result = STORE_OK, .replicas = model->replicas};
    if (model->refusing && request->writes_count + request->deletes_count + request->appends_count +
                                   request->ms_count >
                               0)
        reply->result = STORE_REFUSED;
    else if (!holds)
        reply->result = STORE_NIL;
    if (reply->result != STORE_OK)
        return;
    model->execs++;
    begin_group(model);
    lengths = arena_alloc(model->arena, (size_t)(request->writes_count + 1) * sizeof lengths[0]);
    for (int i = 0; i < request->writes_count; i++)
        lengths[i] = write_user(model, request->shard, &request->writes[i]);
    reply->lengths = lengths;
    reply->lengths_count = request->writes_count;
    if (request->drops) {
        struct model_key *key = tp_key(model, MODEL_OUTBOX, request->shard, request->drop_tp);
        touch(model, key);
        key->now = (struct model_content){0};
    }
    for (int i = 0; i < request->deletes_count; i++)
        delete_row(model, tp_key(model, MODEL_OUTBOX, request->shard, request->deletes[i].tp),
                   request->deletes[i].id);
    for (int i = 0; i < request->appends_count; i++)
        append(model, request->shard, &request->appends[i]);
    for (int i = 0; i < request->ms_count; i++)
        write_m(model, request->shard, &request->ms[i]);
    if (model->undo[model->undo_count - 1].saved == NULL)
        model->undo_count--; /* a pure check is no write */
}

static void trim(struct store_model *model, const struct store_request *request,
                 struct store_reply *reply)
{
    struct model_key *key = tp_key(model, MODEL_OUTBOX, request->shard, request->tp);
    int before = key->now.rows_count;

    begin_group(model);
    for (int i = 0; i < request->ids_count; i++)
        delete_row(model, key, request->ids[i]);
    if (key->now.rows_count == before)
        model->undo_count--;
    *reply = (struct store_reply){.removed = before - key->now.rows_count,
                                  .outbox = {STORE_PRESENT, key->now.rows_count, key->now.last_id}};
}

static void rows(struct store_model *model, const struct store_request *request,
                 struct store_reply *reply)
{
    const struct model_content *now =
        &tp_key(model, MODEL_OUTBOX, request->shard, request->tp)->now;
    struct store_row *found = arena_alloc(model->arena, STORE_ROWS_MAX * sizeof found[0]);
    int count = 0;

    assert(found != NULL);
    for (int r = 0; r < now->rows_count && count < STORE_ROWS_MAX; r++)
        if (store_id_compare(now->rows[r].id, request->from) >= 0)
            found[count++] = (struct store_row){now->rows[r].id, now->rows[r].bytes,
                                                now->rows[r].bytes_count};
    *reply = (struct store_reply){.rows = found, .rows_count = count};
}

/* ---- requests ---- */

int store_model_step(struct store_model *model, struct model_connection *connection,
                     const struct store_request *request, int step, struct store_reply *reply)
{
    bool write = request->kind == STORE_CLAIM || request->kind == STORE_START;

    if (step == 0)
        *reply = (struct store_reply){0};
    if (model->loading && request->kind == STORE_EXEC && step > 0)
        return -1; /* the EXEC stands, the read behind it failed */
    if (model->loading || (model->refusing && write)) {
        reply->result = STORE_REFUSED;
        return -1;
    }
    switch (request->kind) {
    case STORE_CLAIM:
        connection->watches_count = 0;
        claim(model, request, reply);
        return -1;
    case STORE_START:
        start(model, request, reply);
        return -1;
    case STORE_READ:
        if (step == 0) {
            if (request->fresh)
                connection->watches_count = 0;
            watch_and_read(model, connection, request, reply);
            return request->users_count > 0 ? 1 : -1;
        }
        read_users(model, request, reply);
        return -1;
    case STORE_EXEC:
        if (step == 0) {
            exec(model, connection, request, reply);
            return request->tps_count > 0 ? 1 : -1;
        }
        watch_and_read(model, connection, request, reply);
        return -1;
    case STORE_TRIM:
        trim(model, request, reply);
        return -1;
    case STORE_ROWS:
        rows(model, request, reply);
        return -1;
    }
    return -1;
}

void store_model_run(struct store_model *model, struct model_connection *connection,
                     const struct store_request *request, struct store_reply *reply)
{
    int step = 0;

    do {
        step = store_model_step(model, connection, request, step, reply);
    } while (step >= 0);
}

/* ---- copies ---- */

static void *copy(struct arena *arena, const void *from, int count, size_t size)
{
    return count == 0 ? NULL : arena_copy(arena, from, (size_t)count * size);
}

struct store_request *store_model_copy(struct arena *arena, const struct store_request *request)
{
    struct store_request *made = arena_copy(arena, request, sizeof *request);
    struct text *users = copy(arena, request->users, request->users_count, sizeof *users);
    struct store_write *writes = copy(arena, request->writes, request->writes_count,
                                      sizeof *writes);
    struct store_append *appends = copy(arena, request->appends, request->appends_count,
                                        sizeof *appends);

    assert(made != NULL);
    for (int i = 0; i < request->users_count; i++)
        users[i].at = arena_copy(arena, users[i].at, users[i].bytes);
    for (int i = 0; i < request->writes_count; i++) {
        writes[i].user.at = arena_copy(arena, writes[i].user.at, writes[i].user.bytes);
        writes[i].bytes = arena_copy(arena, writes[i].bytes, writes[i].count);
    }
    for (int i = 0; i < request->appends_count; i++)
        appends[i].bytes = arena_copy(arena, appends[i].bytes, appends[i].bytes_count);
    made->users = users;
    made->writes = writes;
    made->appends = appends;
    made->tps = copy(arena, request->tps, request->tps_count, sizeof request->tps[0]);
    made->ms = copy(arena, request->ms, request->ms_count, sizeof request->ms[0]);
    made->deletes = copy(arena, request->deletes, request->deletes_count,
                         sizeof request->deletes[0]);
    made->ids = copy(arena, request->ids, request->ids_count, sizeof request->ids[0]);
    return made;
}
