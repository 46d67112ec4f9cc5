/*
 * kernels/model.h - the one ranker: weights, forward pass, names of its tensors.
 *
 * Flow: batch -> [embed -> L layers -> head] -> scores -> rank
 *
 * History tokens run through L causal layers; each candidate attends to the history and to
 * itself, never to another candidate. Equations: the comments of the ops this is built from
 * (kernels/README.md has the way through them).
 *
 * Promise: every row is computed in an order that its neighbours do not change. Adding,
 * removing or shuffling candidates, or batching requests together, changes no bit of any
 * other score on the CPU.
 *
 * Dims beside those of schemas/batch.h:
 *     C channels   L layers   H heads   P positions: the longest history, and the constant the
 *     attention divides by   A action codes   R rank of a cross layer   W width of the MLP
 */
#ifndef KERNELS_MODEL_H
#define KERNELS_MODEL_H

#include "ops/status.h"
#include "schemas/batch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_ITEMS_MAX    (1 << 26)
#define MODEL_CHANNELS_MAX 1024
#define MODEL_LAYERS_MAX   16
#define MODEL_ACTIONS_MAX  256
#define MODEL_CROSSES_MAX  4
#define MODEL_TEXT_MAX     1024
#define MODEL_NAME_BYTES   32

enum model_attention {
    MODEL_ATTENTION_SILU,    /* SiLU(S) / P: the default */
    MODEL_ATTENTION_SOFTMAX, /* softmax(S) */
};

enum model_head {
    MODEL_HEAD_CROSS, /* cross layers and an MLP over [x | x * e | f]: what freshet serves */
    MODEL_HEAD_DOT,   /* x . e + w_f . f + b_f: the plain head peers are compared on */
};

struct model_config {
    int32_t C, L, H, P; /* C a multiple of 16 * H, P at most BATCH_HISTORY_MAX */
    int32_t V;          /* item rows, row 0 included; at least 1 */
    int32_t A;          /* action codes, the target action included */
    int32_t F;          /* scalar features a candidate; a batch must bring as many */
    int32_t R, W;       /* of the cross head; multiples of 8 */
    int32_t crosses;    /* cross layers, 1..MODEL_CROSSES_MAX */
    enum model_attention attention;
    enum model_head head;
    float tau; /* temperature of next-item scores: cosine / tau */
    /* Parts that may be switched; all 0 is what freshet serves by default. */
    bool without_position, without_time; /* the attention's bias by distance, by time between */
    int32_t contexts;      /* tokens of the request's context in front of the history; the longest
                              history is then P - contexts */
    int32_t text;          /* width of the items' text vectors (model_item_text()), 0: none; a
                              multiple of 16 */
    int32_t context_names; /* print of their names (schemas/context.h): said, not looked at here */
};

/* What of a model may be switched, apart from its size; all 0 is the default. */
struct model_switches {
    enum model_attention attention;
    enum model_head head;
    bool without_position, without_time;
    int32_t contexts, text;
    int32_t context_names;
};

/* One named tensor, row-major. data stays valid until the model is destroyed or grows. */
struct model_tensor {
    char name[MODEL_NAME_BYTES]; /* "emb", "layers.0.w1", ...: the names in the bundle */
    int32_t dims_count;          /* 1..3 */
    int64_t dims[3];
    size_t count; /* of floats */
    float *data;
};

struct model;
struct model_workspace;
struct kv_cache; /* kernels/kv_cache.h */

void model_switch(struct model_config *config, const struct model_switches *switches);
struct model_switches model_switches_of(const struct model_config *config);
bool model_switches_equal(const struct model_switches *a, const struct model_switches *b);

/* Fills *config with the preset of that name ("small", "medium", "large") for V item rows, F
 * scalars, the defaults for all else. False when there is no such preset. */
bool model_preset(struct model_config *config, const char *name, int32_t V, int32_t F);

/**
 * Creates a model with fresh weights; the same seed gives the same bits.
 *
 * Owner: the caller, until model_destroy(). Ready to score, on the device that kernels/backend.h
 * chose.
 * Errors: ERR_LIMIT a dimension outside its bounds (the text names it); ERR_NOMEM;
 *         ERR_DEVICE the GPU failed, or FRESHET_BACKEND demands one that is not there.
 */
MUST_CHECK enum status model_create(struct model **model, const struct model_config *config,
                                    uint64_t seed, struct error *err);

/* The same weights in a model of its own: to serve one while the other is trained.
 * Errors: ERR_NOMEM, ERR_DEVICE. */
MUST_CHECK enum status model_copy(struct model **copy, const struct model *model,
                                  struct error *err);
void model_destroy(struct model *model); /* NULL is fine */

const struct model_config *model_config(const struct model *model);
/* The longest history a request may bring: P, less the tokens of context in front of it. */
int32_t model_history_max(const struct model *model);

/**
 * Grows the item table to V rows (no change when it has as many). A new row starts as the
 * unknown row plus a little noise drawn from the row's number; a caller who knows better
 * (the mean of the category) writes over model_item(). Tensor pointers taken before are void.
 *
 * Errors: ERR_LIMIT, ERR_NOMEM: the model is as before.
 */
MUST_CHECK enum status model_grow_items(struct model *model, int32_t V, struct error *err);
float *model_item(struct model *model, int32_t row); /* (C), 0 <= row < V */
/* The item's text vector (config.text), 0 until it is set, never trained: the row that scores is
 * the item's own plus this times text.w, so an item whose own row knows nothing is scored by its
 * text. NULL without text. */
float *model_item_text(struct model *model, int32_t row);

/* Every tensor, in an order that depends on the config alone. */
int32_t model_tensors_count(const struct model *model);
struct model_tensor model_tensor(struct model *model, int32_t index);

/**
 * Fills a model from stored tensors: begin, one put for each, end. A model between begin and
 * end scores nothing (assert). put copies; it refuses what does not belong, so a bundle of
 * another shape is refused by name and not misread.
 *
 * Errors: put  ERR_NOT_FOUND no such tensor; ERR_MALFORMED other dims, a second time, or a
 *              number that is not finite
 *         end  ERR_MALFORMED a tensor was never put: the text names the first
 */
void model_import_begin(struct model *model);
MUST_CHECK enum status model_import_put(struct model *model, const char *name, const int64_t *dims,
                                        int32_t dims_count, const float *data, struct error *err);
MUST_CHECK enum status model_import_end(struct model *model, struct error *err);

/* After weights were changed in place (through model_tensor(), model_item() or a training
 * step): derives what scoring needs from them. create, copy and import_end have done it.
 * Cost: one pass over the weights, and on a GPU a copy of them. Errors: ERR_NOMEM, ERR_DEVICE. */
MUST_CHECK enum status model_prepare(struct model *model, struct error *err);

/**
 * Trades memory for time in a model that is going to score for long: the first layer of every item
 * is multiplied once (kernels/embed.h), 4 C floats each, and looked up from then on. Does nothing
 * where that would take more than MODEL_FOLD_BYTES_MAX, on a GPU, or a second time; the next
 * model_prepare() drops it. Scores change by rounding alone, within what model_score() promises;
 * all that is said of bits below holds among scores of the folded model.
 *
 * Cost: V x C x 4 C multiply-adds; 3,400 items of 64 channels take a millisecond and 3.5 MB.
 * Errors: ERR_NOMEM: the model is as before.
 */
#define MODEL_FOLD_BYTES_MAX (64 << 20) /* 65,000 items of 64 channels */
MUST_CHECK enum status model_fold(struct model *model, struct error *err);

/**
 * Scores are from here on those of layers whose inputs and weights are rounded to bf16
 * (kernels/linear_bf16.h), until the next model_prepare(); embeddings, attention, the folded first
 * layer and the head stay float. It costs some 1e-2 of a score's size and, which counts, a change
 * of the order that the gate measures. What is said of bits below holds among these scores. On a
 * GPU its own products are of bf16 from here on (kernels/cuda/README.md).
 *
 * Errors: ERR_NOMEM: the model is as before. ERR_DEVICE: it is not.
 */
MUST_CHECK enum status model_round(struct model *model, struct error *err);
/**
 * Next-item scores of a rounded model on a GPU are from here on products of bf16 numbers, too: of
 * last states and of the item table, until the next model_prepare(). It is asked for apart because
 * the table then lies on the GPU a second time, in 2 bytes for each of V * C numbers. Elsewhere,
 * and for a model that is not rounded, it does nothing: on the CPU these scores stay float.
 *
 * Errors: ERR_NOMEM, ERR_DEVICE: the model is not as before.
 */
MUST_CHECK enum status model_round_next(struct model *model, struct error *err);
/* Of a GPU: it multiplies bf16 (compute capability 8.0 or more), and was told to. */
bool model_is_rounded(const struct model *model);

/* The same weights rounded, in a model that scores on the CPU and by the portable way, whatever
 * this process scores on: what rounding changes is measured by it, the same on every machine.
 * Errors: ERR_NOMEM, ERR_DEVICE. */
MUST_CHECK enum status model_copy_rounded(struct model **copy, const struct model *model,
                                          struct error *err);

/* What rounding would gain on this machine: the product of the last layer, 96 rows, the best of 50
 * in turns; and whether all layers' products come out right. A machine without instructions for it
 * has the way "portable", which is never faster; a model on a GPU is not tried, and not faster.
 * Errors: ERR_NOMEM */
struct model_round_trial {
    const char *way; /* "portable", "avx512", "amx"; "gpu"; "untried" after an error */
    bool right;      /* the products are the portable way's, but for the order of sums */
    bool faster;     /* right, by instructions of its own, and by the clock */
    double f32_us, bf16_us;
};
MUST_CHECK enum status model_round_try(const struct model *model, struct model_round_trial *trial,
                                       struct error *err);

/* Scratch memory of one thread, for any model. It grows to the largest batch seen; after
 * that a call allocates nothing. Aborts only if its first few bytes cannot be had. */
struct model_workspace *model_workspace_create(void);
void model_workspace_destroy(struct model_workspace *workspace); /* NULL is fine */

/**
 * Scores every candidate: scores (N), higher is better, as shown in position 1.
 * A request without history is fine: its candidates see themselves only.
 *
 * Errors: ERR_LIMIT    a history longer than P less the context tokens, F other than the config's,
 *                      or a batch over its maxima
 *         ERR_NOMEM
 *         ERR_DEVICE   GPU only
 * Thread: any number on one model, each with a workspace of its own, while nobody changes it.
 *
 * Accuracy: 1e-4 of the formulas in double for C <= 128. On the CPU a row's bits do not depend on
 * its neighbours; on a GPU its last bits may (kernels/cuda/blas.h).
 */
MUST_CHECK enum status model_score(const struct model *model, struct model_workspace *workspace,
                                   const struct batch *batch, float *scores, struct error *err);

/**
 * The same; K and V of histories come from the cache as far as it has them, and what is computed of
 * them is left there: of a next request with the same tokens in front only what follows is
 * computed, in steps of KV_PAGE_ROWS (kernels/kv_cache.h). On the CPU scores are those of
 * model_score() to the bit, whatever the cache holds; on a GPU a score's last bits may differ.
 * After an error nothing of the batch is in the cache. cache NULL: model_score().
 *
 * Thread: as model_score(); all share one cache. Nothing is allocated once a workspace has seen its
 * largest batch and the cache has its memory.
 */
MUST_CHECK enum status model_score_cached(const struct model *model,
                                          struct model_workspace *workspace, struct kv_cache *cache,
                                          const struct batch *batch, float *scores,
                                          struct error *err);

/* Takes the cache's memory for models of this one's shape now, in place of at the first request.
 * OK, and no change, while others read pages of another shape; what the cache held is dropped when
 * it is of another. Errors: ERR_LIMIT the cache's bytes are less than a page of this model;
 * ERR_NOMEM; ERR_DEVICE. */
MUST_CHECK enum status model_reserve_cache(const struct model *model, struct kv_cache *cache,
                                           struct error *err);
/* Whether it has room for models of this one's shape. */
bool model_fits_cache(const struct model *model, struct kv_cache *cache);
/* Drops what the cache keeps of this model, and of it alone (kv_cache_forget()): for when nobody
 * scores with it any more. A model that was never scored with costs a look at the pages. */
void model_forget_cached(const struct model *model, struct kv_cache *cache);

/**
 * Next-item scores of the last token's state, cosine / tau (the form the next-item loss trains).
 *
 * model_next_all: every row, scores (B, V); row 0, the unknown item, is -INFINITY.
 * model_next_candidates: the batch's candidates, scores (N).
 * A request without history has no state: all its scores are 0 (row 0 still -INFINITY).
 * Candidates and scalars are not read by model_next_all. Errors and Thread: as model_score().
 */
MUST_CHECK enum status model_next_all(const struct model *model, struct model_workspace *workspace,
                                      const struct batch *batch, float *scores, struct error *err);
MUST_CHECK enum status model_next_candidates(const struct model *model,
                                             struct model_workspace *workspace,
                                             const struct batch *batch, float *scores,
                                             struct error *err);

/**
 * The k best of the item rows 1 .. V - 1 of each request by the scores of model_next_all(), without
 * that matrix; V at most the model's, which may have rows that are nobody's yet. rows (B, k) best
 * first, equal scores by row, -1 from where there are no more; scores (B, k) beside them, -INFINITY
 * there. Row 0 is never among them, nor a score that is NaN. A request without history has none.
 * Candidates and scalars are not read.
 *
 * Cost: V x C multiply-adds a request and the table read once for 16 requests on the CPU; memory of
 * the workspace 16 k bytes a request of those 16. k at most MODEL_NEXT_TOP_MAX; 0 is fine.
 * Errors: as model_score(), and ERR_LIMIT for another k or V. Thread: as model_score().
 * Accuracy: on the CPU the scores, to the bit, of model_next_all() (0 for -0), so the order is that
 * of a sort of them; on a GPU within what it promises, so rows that close may change places.
 */
#define MODEL_NEXT_TOP_MAX 1024
MUST_CHECK enum status model_next_top(const struct model *model, struct model_workspace *workspace,
                                      const struct batch *batch, int32_t V, int32_t k,
                                      int32_t *rows, float *scores, struct error *err);

/* The Platt pair: probability = sigmoid(a * score + b). (1, 0) until it is set. */
float model_probability(const struct model *model, float score);
void model_set_platt(struct model *model, float a, float b);

#endif
