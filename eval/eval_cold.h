/*
 * eval/eval_cold.h - a row for items that training never saw, from what is said of them.
 *
 * Flow: file of items -> [words, text vectors] -> fit -> [cold rows] -> full ranking (model_cold)
 *
 * An item without a training event gets the mean of the rows of the EVAL_COLD_NEAR items most like
 * it (features/item_words.h) that have some: what a learner gives an item that it has not admitted.
 * Thread: one.
 */
#ifndef EVAL_COLD_H
#define EVAL_COLD_H

#include "eval/interactions.h"
#include "features/item_words.h"
#include "kernels/model.h"

#define EVAL_COLD_NEAR 10

struct eval_texts {
    struct item_words *words; /* keys are rows; NULL: no file was given */
    float *vectors;           /* (V, width), NULL without */
    int32_t width;
    int64_t items; /* of the data that something is said of */
};
/* width 0: no vectors. Errors: as item_texts_read(); ERR_MALFORMED no item of the data is in it. */
MUST_CHECK enum status eval_texts_load(struct eval_texts *texts, const char *path, int32_t width,
                                       const struct interactions *data, struct error *err);
void eval_texts_clear(struct eval_texts *texts); /* zeroed is fine */

/* Gives rows to items without a training event (lifetime 0), where there are items like it. *cold
 * (V): which; the caller's, free(). Errors: ERR_NOMEM, ERR_DEVICE */
MUST_CHECK enum status eval_cold_rows(uint8_t **cold, struct model *model,
                                      const struct eval_texts *texts, const float *lifetime,
                                      struct error *err);

#endif
