/* kernels/model_file.c - the shape as a table of names, so that saving and loading cannot differ.
 */
#include "kernels/model_file.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Integer members of struct model_config, by the name they have in the manifest. */
static const struct shape_row {
    const char *name;
    size_t offset;
} shape_rows[] = {
    {"channels", offsetof(struct model_config, C)},
    {"layers", offsetof(struct model_config, L)},
    {"heads", offsetof(struct model_config, H)},
    {"positions", offsetof(struct model_config, P)},
    {"items", offsetof(struct model_config, V)},
    {"actions", offsetof(struct model_config, A)},
    {"scalars", offsetof(struct model_config, F)},
    {"cross_rank", offsetof(struct model_config, R)},
    {"mlp_width", offsetof(struct model_config, W)},
    {"crosses", offsetof(struct model_config, crosses)},
    {"contexts", offsetof(struct model_config, contexts)},
    {"text", offsetof(struct model_config, text)},
    {"context_names", offsetof(struct model_config, context_names)},
};

#define SHAPE_ROWS ((int)(sizeof shape_rows / sizeof shape_rows[0]))
/* Bundles of before the last ones were switches have none of them. */
#define SHAPE_ROWS_ALWAYS (SHAPE_ROWS - 3)
/* The rest of the config, as integers too: a real would not survive text unharmed. */
#define SHAPE_ATTENTION "attention"
#define SHAPE_POSITION  "position_bias" /* 1 or 0; a bundle that does not say has it */
#define SHAPE_TIME      "time_bias"
#define SHAPE_HEAD      "head"
#define SHAPE_TAU_MICRO "tau_micro"
#define MICRO           1e6

static void describe(struct manifest *manifest, const char *name, int64_t value)
{
    assert(manifest->shape_count < (int)(sizeof manifest->shape / sizeof manifest->shape[0]));
    (void)snprintf(manifest->shape[manifest->shape_count].name, sizeof manifest->shape[0].name,
                   "%s", name);
    manifest->shape[manifest->shape_count++].value = value;
}

static bool described(const struct manifest *manifest, const char *name, int64_t *value)
{
    for (int i = 0; i < manifest->shape_count; i++)
        if (strcmp(manifest->shape[i].name, name) == 0) {
            *value = manifest->shape[i].value;
            return true;
        }
    return false;
}

enum status model_file_save(struct model *model, const char *path, struct error *err)
{
    static _Thread_local struct tensor tensors[BUNDLE_TENSORS_MAX];
    int32_t count = model_tensors_count(model);

    if (count > BUNDLE_TENSORS_MAX)
        return error_set(err, ERR_LIMIT, "model of %d tensors, at most %d", count,
                         BUNDLE_TENSORS_MAX);
    for (int32_t i = 0; i < count; i++) {
        struct model_tensor from = model_tensor(model, i);
        struct tensor *to = &tensors[i];

        *to = (struct tensor){.dims_count = from.dims_count, .data = from.data};
        (void)snprintf(to->name, sizeof to->name, "%s", from.name);
        for (int32_t d = 0; d < from.dims_count; d++)
            to->dims[d] = from.dims[d];
    }
    return safetensors_write(path, tensors, count, err);
}

void model_file_describe(const struct model *model, const char *preset, struct manifest *manifest)
{
    const struct model_config *config = model_config(model);

    manifest->shape_count = 0;
    (void)snprintf(manifest->preset, sizeof manifest->preset, "%s", preset);
    for (int i = 0; i < SHAPE_ROWS; i++) {
        int32_t value;

        memcpy(&value, (const char *)config + shape_rows[i].offset, sizeof value);
        describe(manifest, shape_rows[i].name, value);
    }
    describe(manifest, SHAPE_ATTENTION, config->attention);
    describe(manifest, SHAPE_HEAD, config->head);
    describe(manifest, SHAPE_POSITION, !config->without_position);
    describe(manifest, SHAPE_TIME, !config->without_time);
    describe(manifest, SHAPE_TAU_MICRO, (int64_t)((double)config->tau * MICRO + 0.5));
}

bool model_file_present(const struct manifest *manifest)
{
    return manifest->preset[0] != 0;
}

/* *off: the manifest says 0. */
static enum status read_switch(bool *off, const struct manifest *manifest, const char *name,
                               struct error *err)
{
    int64_t value = 1;

    if (described(manifest, name, &value) && value != 0 && value != 1)
        return error_set(err, ERR_MALFORMED, "manifest's %s is neither 0 nor 1", name);
    *off = value == 0;
    return OK;
}

static enum status read_shape(struct model_config *config, const struct manifest *manifest,
                              struct error *err)
{
    enum status status;
    int64_t value;

    for (int i = 0; i < SHAPE_ROWS; i++) {
        int32_t narrow;

        if (!described(manifest, shape_rows[i].name, &value) && i >= SHAPE_ROWS_ALWAYS)
            continue;
        if (!described(manifest, shape_rows[i].name, &value))
            return error_set(err, ERR_MALFORMED, "manifest has no \"%s\" in its shape",
                             shape_rows[i].name);
        if (value < 0 || value > INT32_MAX)
            return error_set(err, ERR_LIMIT, "manifest's shape \"%s\" is %lld", shape_rows[i].name,
                             (long long)value);
        narrow = (int32_t)value;
        memcpy((char *)config + shape_rows[i].offset, &narrow, sizeof narrow);
    }
    if (!described(manifest, SHAPE_ATTENTION, &value) || value < 0 ||
        value > MODEL_ATTENTION_SOFTMAX)
        return error_set(err, ERR_MALFORMED, "manifest's attention is not one of ours");
    config->attention = (enum model_attention)value;
    if (!described(manifest, SHAPE_HEAD, &value) || value < 0 || value > MODEL_HEAD_DOT)
        return error_set(err, ERR_MALFORMED, "manifest's head is not one of ours");
    config->head = (enum model_head)value;
    status = read_switch(&config->without_position, manifest, SHAPE_POSITION, err);
    if (status == OK)
        status = read_switch(&config->without_time, manifest, SHAPE_TIME, err);
    if (status != OK)
        return status;
    if (!described(manifest, SHAPE_TAU_MICRO, &value) || value < 1 || value > 1000000)
        return error_set(err, ERR_MALFORMED, "manifest's tau is outside 1e-6..1");
    config->tau = (float)((double)value / MICRO);
    return OK;
}

enum status model_file_load(struct model **model, const char *path, const struct manifest *manifest,
                            struct error *err)
{
    struct model_config config = {0};
    struct safetensors *file = NULL;
    struct model *loaded = NULL;
    enum status status;

    *model = NULL;
    status = read_shape(&config, manifest, err);
    if (status != OK)
        return status;
    /* The file first: its size bounds what the manifest's numbers can make us allocate. */
    status = safetensors_read(&file, path, err);
    if (status != OK)
        return status;
    const struct tensor *table = safetensors_find(file, "emb");
    if (table == NULL || table->dims_count != 2 || table->dims[0] != config.V ||
        table->dims[1] != config.C) {
        status = error_set(err, ERR_MALFORMED, "weights \"%s\" have no item table of (%d, %d)",
                           path, config.V, config.C);
        goto done;
    }
    status = model_create(&loaded, &config, 0, err);
    if (status != OK)
        goto done;
    model_import_begin(loaded);
    for (int i = 0; i < safetensors_count(file) && status == OK; i++) {
        const struct tensor *tensor = safetensors_at(file, i);

        status = model_import_put(loaded, tensor->name, tensor->dims, tensor->dims_count,
                                  tensor->data, err);
    }
    if (status == OK)
        status = model_import_end(loaded, err);
    if (status != OK)
        goto done;
    *model = loaded;
    loaded = NULL;
done:
    model_destroy(loaded);
    safetensors_destroy(file);
    return status;
}
