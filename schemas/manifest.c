/* schemas/manifest.c - what a bundle says about itself, as JSON. */
#include "ops/json.h"
#include "ops/json_writer.h"
#include "schemas/bundle.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NODES_MAX 8192 /* 5 an offset, and the rest */
#define HEX_BYTES 17

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof(array)[0]))

/* ---- encode ---- */

static void put_hex(struct json_writer *w, const char *key, uint64_t value)
{
    char hex[HEX_BYTES];

    (void)snprintf(hex, sizeof hex, "%016llx", (unsigned long long)value);
    json_text(w, key, text_of(hex));
}

static void put_lists(struct json_writer *w, const struct manifest *m)
{
    json_key(w, "shape");
    json_object_begin(w);
    for (int i = 0; i < m->shape_count; i++)
        json_int(w, m->shape[i].name, m->shape[i].value);
    json_object_end(w);
    json_key(w, "scalars");
    json_array_begin(w);
    for (int i = 0; i < m->scalars_count; i++)
        json_put_text(w, text_of(m->scalars[i]));
    json_array_end(w);
    json_key(w, "offsets");
    json_array_begin(w);
    for (int i = 0; i < m->offsets_count; i++) {
        json_object_begin(w);
        json_text(w, "topic", text_of(m->offsets[i].topic));
        json_int(w, "partition", m->offsets[i].partition);
        json_int(w, "from", m->offsets[i].from);
        json_int(w, "to", m->offsets[i].to);
        json_object_end(w);
    }
    json_array_end(w);
    json_key(w, "metrics");
    json_object_begin(w);
    for (int i = 0; i < m->metrics_count; i++)
        json_real(w, m->metrics[i].name, m->metrics[i].value);
    json_object_end(w);
    json_key(w, "files");
    json_array_begin(w);
    for (int i = 0; i < m->files_count; i++) {
        json_object_begin(w);
        json_text(w, "name", text_of(m->files[i].name));
        json_text(w, "sha256", text_of(m->files[i].sha256));
        json_int(w, "bytes", m->files[i].bytes);
        json_object_end(w);
    }
    json_array_end(w);
}

size_t manifest_encode(const struct manifest *manifest, char *into, size_t bytes)
{
    struct json_writer w;

    json_writer_init(&w, into, bytes);
    json_object_begin(&w);
    json_int(&w, "format", BUNDLE_FORMAT);
    json_text(&w, "version", text_of(manifest->version));
    json_text(&w, "parent", text_of(manifest->parent));
    json_int(&w, "created_at_ms", manifest->created_at_ms);
    json_int(&w, "trained_until_ms", manifest->trained_until_ms);
    json_text(&w, "preset", text_of(manifest->preset));
    put_hex(&w, "item_seed", manifest->item_seed);
    put_hex(&w, "seed", manifest->seed);
    json_text(&w, "config_hash", text_of(manifest->config_hash));
    json_text(&w, "gate", text_of(manifest->gate));
    put_lists(&w, manifest);
    json_object_end(&w);
    return json_writer_ok(&w) ? json_writer_text(&w).bytes : 0;
}

/* ---- decode ---- */

/* Reads members into fields; remembers the first that is wrong. */
struct reading {
    const struct json_node *node; /* the object the members are of */
    const char *wrong;            /* name of that member, or NULL */
};

static void copy_text(struct reading *r, const char *name, struct text from, char *into,
                      size_t bytes)
{
    if (from.bytes >= bytes) {
        r->wrong = name;
        return;
    }
    if (from.bytes > 0)
        memcpy(into, from.at, from.bytes);
    into[from.bytes] = 0;
}

static void get_text(struct reading *r, const char *name, char *into, size_t bytes)
{
    const struct json_node *member = json_member(r->node, name);

    if (member == NULL)
        return;
    if (member->value.type != JSON_TEXT)
        r->wrong = name;
    else
        copy_text(r, name, member->value.text, into, bytes);
}

static void get_int(struct reading *r, const char *name, int64_t min, int64_t max, int64_t *into)
{
    const struct json_node *member = json_member(r->node, name);

    if (member == NULL || member->value.type != JSON_INT || member->value.integer < min ||
        member->value.integer > max)
        r->wrong = name;
    else
        *into = member->value.integer;
}

static void get_hex(struct reading *r, const char *name, uint64_t *into)
{
    char hex[HEX_BYTES] = "";

    get_text(r, name, hex, sizeof hex);
    if (strlen(hex) != HEX_BYTES - 1 || strspn(hex, "0123456789abcdef") != HEX_BYTES - 1)
        r->wrong = name;
    else
        *into = strtoull(hex, NULL, 16);
}

/* The first child of a list or an object; *wrong when it is of another type or too long. */
static const struct json_node *get_children(struct reading *r, const char *name,
                                            enum json_type type, int most)
{
    const struct json_node *member = json_member(r->node, name);

    if (member == NULL)
        return NULL;
    if (member->value.type != type || member->children_count > (size_t)most) {
        r->wrong = name;
        return NULL;
    }
    return member->child;
}

static void get_model(struct reading *r, struct manifest *m)
{
    const struct json_node *at = get_children(r, "shape", JSON_OBJECT, COUNT_OF(m->shape));

    for (; at != NULL; at = at->next) {
        copy_text(r, "shape", at->key, m->shape[m->shape_count].name, sizeof m->shape[0].name);
        if (at->value.type != JSON_INT)
            r->wrong = "shape";
        m->shape[m->shape_count++].value = at->value.integer;
    }
    at = get_children(r, "scalars", JSON_ARRAY, BUNDLE_SCALARS_MAX);
    for (; at != NULL; at = at->next) {
        if (at->value.type != JSON_TEXT)
            r->wrong = "scalars";
        copy_text(r, "scalars", at->value.text, m->scalars[m->scalars_count++],
                  sizeof m->scalars[0]);
    }
    at = get_children(r, "metrics", JSON_OBJECT, BUNDLE_METRICS_MAX);
    for (; at != NULL; at = at->next) {
        struct manifest_metric *metric = &m->metrics[m->metrics_count++];

        copy_text(r, "metrics", at->key, metric->name, sizeof metric->name);
        if (at->value.type == JSON_NULL)
            metric->value = (double)NAN;
        else if (at->value.type == JSON_INT || at->value.type == JSON_REAL)
            metric->value = at->value.real;
        else
            r->wrong = "metrics";
    }
}

static void get_offsets(struct reading *r, struct manifest *m)
{
    const struct json_node *at = get_children(r, "offsets", JSON_ARRAY, BUNDLE_OFFSETS_MAX);

    for (; at != NULL; at = at->next) {
        struct manifest_offset *offset = &m->offsets[m->offsets_count++];
        struct reading each = {at, NULL};
        int64_t partition = 0;

        get_text(&each, "topic", offset->topic, sizeof offset->topic);
        get_int(&each, "partition", 0, INT32_MAX, &partition);
        get_int(&each, "from", 0, INT64_MAX, &offset->from);
        get_int(&each, "to", 0, INT64_MAX, &offset->to);
        offset->partition = (int32_t)partition;
        if (at->value.type != JSON_OBJECT || each.wrong != NULL)
            r->wrong = "offsets";
    }
}

static void get_files(struct reading *r, struct manifest *m)
{
    const struct json_node *at = get_children(r, "files", JSON_ARRAY, COUNT_OF(m->files));

    for (; at != NULL; at = at->next) {
        struct reading each = {at, NULL};
        int i = m->files_count++;

        get_text(&each, "name", m->files[i].name, sizeof m->files[i].name);
        get_text(&each, "sha256", m->files[i].sha256, sizeof m->files[i].sha256);
        get_int(&each, "bytes", 0, INT64_MAX, &m->files[i].bytes);
        if (at->value.type != JSON_OBJECT || each.wrong != NULL ||
            !bundle_name_valid(m->files[i].name, sizeof m->files[i].name) ||
            strlen(m->files[i].sha256) != sizeof m->files[i].sha256 - 1 ||
            strspn(m->files[i].sha256, "0123456789abcdef") != sizeof m->files[i].sha256 - 1)
            r->wrong = "files";
        for (int k = 0; k < i; k++)
            if (strcmp(m->files[i].name, m->files[k].name) == 0)
                r->wrong = "files";
    }
}

static enum status read_manifest(struct manifest *m, const struct json_node *root,
                                 struct error *err)
{
    struct reading r = {root, NULL};
    int64_t format = json_int_or(json_member(root, "format"), 0);

    if (root->value.type != JSON_OBJECT || format < 1)
        return error_set(err, ERR_MALFORMED, "no manifest of a bundle");
    if (format > BUNDLE_FORMAT)
        return error_set(err, ERR_VERSION, "bundle of format %lld, this build reads %d",
                         (long long)format, BUNDLE_FORMAT);
    get_text(&r, "version", m->version, sizeof m->version);
    if (!bundle_name_valid(m->version, sizeof m->version))
        r.wrong = "version";
    get_text(&r, "parent", m->parent, sizeof m->parent);
    if (m->parent[0] != 0 && !bundle_name_valid(m->parent, sizeof m->parent))
        r.wrong = "parent";
    get_int(&r, "created_at_ms", 0, INT64_MAX, &m->created_at_ms);
    get_int(&r, "trained_until_ms", 0, INT64_MAX, &m->trained_until_ms);
    get_text(&r, "preset", m->preset, sizeof m->preset);
    get_hex(&r, "item_seed", &m->item_seed);
    get_hex(&r, "seed", &m->seed);
    get_text(&r, "config_hash", m->config_hash, sizeof m->config_hash);
    get_text(&r, "gate", m->gate, sizeof m->gate);
    get_model(&r, m);
    get_offsets(&r, m);
    get_files(&r, m);
    if (r.wrong != NULL)
        return error_set(err, ERR_MALFORMED,
                         "manifest's \"%s\" is missing, of another type or "
                         "out of its bounds",
                         r.wrong);
    return OK;
}

enum status manifest_decode(struct manifest *manifest, struct text from, struct error *err)
{
    struct json_parser *parser;
    const struct json_node *root;
    enum status status;
    size_t nodes_max;

    *manifest = (struct manifest){0};
    if (from.bytes > MANIFEST_BYTES_MAX)
        return error_set(err, ERR_LIMIT, "manifest of %zu bytes, at most %d", from.bytes,
                         MANIFEST_BYTES_MAX);
    /* No more than the text can hold: a value has at least one byte and something beside it. */
    nodes_max = from.bytes / 2 + 2 < NODES_MAX ? from.bytes / 2 + 2 : NODES_MAX;
    parser = json_parser_create(from.bytes + 1, nodes_max);
    if (parser == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a manifest");
    status = json_parse(parser, from, &root, err);
    if (status == OK)
        status = read_manifest(manifest, root, err);
    if (status != OK)
        *manifest = (struct manifest){0};
    json_parser_destroy(parser);
    return status;
}
