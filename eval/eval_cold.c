/* eval/eval_cold.c - what a file says of items, and rows made of it. */
#include "eval/eval_cold.h"

#include "eval/item_texts.h"

#include <stdlib.h>
#include <string.h>

struct loading {
    struct eval_texts *texts;
    const struct interactions *data;
};

static enum status take(void *context, const struct item *item, struct error *err)
{
    struct loading *l = context;
    struct eval_texts *t = l->texts;
    int32_t row = item->gone ? 0 : interactions_item(l->data, item->item);

    if (row == 0)
        return OK;
    t->items += !item_words_known(t->words, row);
    if (t->width > 0)
        item_words_vector(item->category, item->text, t->vectors + (int64_t)row * t->width,
                          t->width);
    return item_words_put(t->words, row, item->category, item->text, err);
}

enum status eval_texts_load(struct eval_texts *texts, const char *path, int32_t width,
                            const struct interactions *data, struct error *err)
{
    struct loading loading = {.texts = texts, .data = data};
    struct item_texts_count count;
    enum status status;

    *texts = (struct eval_texts){.width = width};
    status = item_words_create(&texts->words, err);
    if (status == OK && width > 0) {
        texts->vectors = calloc((size_t)data->items * (size_t)width, sizeof *texts->vectors);
        if (texts->vectors == NULL)
            status = error_set(err, ERR_NOMEM, "no memory for texts of %d items", data->items);
    }
    if (status == OK)
        status = item_texts_read(path, take, &loading, &count, err);
    if (status == OK && texts->items == 0)
        status = error_set(err, ERR_MALFORMED, "\"%.200s\" says nothing of the items of the data",
                           path);
    if (status != OK)
        eval_texts_clear(texts);
    return status;
}

void eval_texts_clear(struct eval_texts *texts)
{
    item_words_destroy(texts->words);
    free(texts->vectors);
    *texts = (struct eval_texts){0};
}

static bool is_trained(void *context, int32_t row)
{
    const float *lifetime = context;

    return lifetime[row] > 0;
}

enum status eval_cold_rows(uint8_t **cold, struct model *model, const struct eval_texts *texts,
                           const float *lifetime, struct error *err)
{
    int32_t V = model_config(model)->V, C = model_config(model)->C;
    int32_t near[ITEM_WORDS_NEAR_MAX];
    uint8_t *made = calloc((size_t)V, sizeof *made);
    enum status status;

    *cold = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for %d items", (int)V);
    for (int32_t v = 1; v < V; v++) {
        int count = lifetime[v] > 0 ? 0
                                    : item_words_near(texts->words, v, EVAL_COLD_NEAR, is_trained,
                                                      (void *)(uintptr_t)lifetime, near);
        float *row = model_item(model, v);

        if (count == 0)
            continue;
        made[v] = 1;
        memset(row, 0, (size_t)C * sizeof *row);
        for (int i = 0; i < count; i++)
            for (int32_t c = 0; c < C; c++)
                row[c] += model_item(model, near[i])[c] / (float)count;
    }
    status = model_prepare(model, err);
    if (status != OK) {
        free(made);
        return status;
    }
    *cold = made;
    return OK;
}
