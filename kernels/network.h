/*
 * kernels/network.h - inside of model and trainer: the forward and backward pass of one request.
 *
 * Flow: request -> [embed -> (norm, linear, attention, gate, linear) x L -> head] -> scores
 *
 * model.h is what others use; this header is for kernels/ and its tests.
 */
#ifndef KERNELS_NETWORK_H
#define KERNELS_NETWORK_H

#include "kernels/kv_cache.h"
#include "kernels/model.h"
#include "kernels/ops.h"

#define NETWORK_EPSILON 1e-6f

/* Aligned for every vector, with room for one more behind; NULL when there is none. For free(). */
void *network_memory(size_t bytes);

/* Pointers to every tensor: of the weights, or of a gradient or a moment of the same shape. */
struct network_layer {
    float *w1, *b1; /* (C, 4 C): U | V | Q | K, (4 C) */
    float *w2, *b2; /* (C, C), (C) */
    float *r_pos;   /* (P + 1) */
    float *r_time;  /* (BUCKET_COUNT) */
};

struct network_tensors {
    float *act, *gap, *hour; /* (A, C), (BUCKET_GAPS, C), (BUCKET_HOURS, C) */
    float *context;          /* (contexts * BATCH_CONTEXT_CODES, C) */
    float *text_w;           /* (text, C) */
    struct network_layer layers[MODEL_LAYERS_MAX];
    float *mean, *scale; /* (F), not trained */
    float *w_f, *b_f;    /* dot head */
    float *down[HEAD_CROSSES_MAX], *up[HEAD_CROSSES_MAX], *up_b[HEAD_CROSSES_MAX]; /* cross head */
    float *mlp, *mlp_b, *head_w, *head_b;
    float *position; /* (BATCH_POSITION_MAX + 1); [0] and [1] stay 0 */
    float *platt;    /* (2), not trained */
};

/* The dense tensors as one list: name, shape, place in one block. emb is apart: it grows. */
#define NETWORK_TENSORS_MAX (5 + 6 * MODEL_LAYERS_MAX + 4 + 3 * HEAD_CROSSES_MAX + 6)

struct network_tensor {
    char name[MODEL_NAME_BYTES];
    int32_t dims_count;
    int64_t dims[3];
    int64_t count;  /* floats */
    int64_t offset; /* in the block, a multiple of 16; gaps stay 0 */
    float init;     /* standard deviation of fresh weights; negative: all -init */
    bool trained, decays;
    size_t place; /* of the pointer, in struct network_tensors */
};

struct network_layout {
    int32_t count;
    int32_t Z; /* inputs of the cross head, padded */
    int64_t floats;
    struct network_tensor tensors[NETWORK_TENSORS_MAX];
};

void network_layout(struct network_layout *layout, const struct model_config *config);
void network_point(struct network_tensors *tensors, const struct network_layout *layout,
                   float *block);

/* The layers' weights rounded to bf16, for scoring (kernels/linear_bf16.h). */
struct network_rounded {
    bool on;
    enum linear_bf16_way way;
    struct linear_bf16 w1[MODEL_LAYERS_MAX], w2[MODEL_LAYERS_MAX];
};

/* Weights in the forms the ops read. transposed is NULL where nobody trains. */
struct network {
    const struct ops *ops;
    struct model_config config;
    struct network_tensors weights;
    float *emb; /* (V, C) item rows as the ops read them: text is already in them */
    struct linear w1[MODEL_LAYERS_MAX], w2[MODEL_LAYERS_MAX];
    struct linear w1_t[MODEL_LAYERS_MAX], w2_t[MODEL_LAYERS_MAX];
    struct head head;
    struct embed_folded folded; /* of the first layer; emb NULL where it is computed */
    struct network_rounded rounded;
    bool bf16; /* who scores may multiply bf16 numbers, added up in f32, where the device does so */
    bool bf16_next; /* then next-item scores may, too */
};

/* Floats that network_pack() needs, and the packing itself; call it again after every change. */
int64_t network_panels_floats(const struct model_config *config, bool with_transposed);
void network_pack(struct network *network, int32_t Z, float *panels, bool with_transposed);

/* Tables that spare the first layer's product (kernels/embed.h), and the floats they take. */
int64_t network_fold_floats(const struct network *network);
void network_fold(struct network *network, float *memory);

/* Rounds packed weights; a pass that is not for training then multiplies rounded numbers. */
int64_t network_bf16_bytes(const struct network *network);
void network_bf16_pack(struct network *network, enum linear_bf16_way way, void *memory);
/* Nanoseconds of the last layer's first product of 96 rows, the best of some: in f32, rounded. */
void network_bf16_time(const struct network *network, double *f32_ns, double *bf16_ns,
                       float *memory);
#define NETWORK_TRIAL_ROWS 96
/* Whether the rounded products of every layer come out as the portable way's of the same weights,
 * but for the order of sums: a processor's own instructions are believed after that alone. */
bool network_bf16_same(const struct network *network, float *memory);
/* Floats of the memory of both. */
int64_t network_trial_floats(const struct network *network);

/* Candidates are scored this many floats of x at a time: all of a tile stays in L2. */
#define NETWORK_TILE_FLOATS 6144

/* One request on its way. A pass is scratch memory and, when training, the tape. */
struct network_pass {
    const struct network *network;
    struct request request;
    bool training;   /* keep what the backward pass needs; else layers share one set of buffers */
    bool states_all; /* the last layer's history rows are wanted */
    int32_t history, rows; /* padded rows: of the history, of all */
    int32_t tile;          /* candidates at a time, when not training */
    float *pool;           /* pages of K and V that lease speaks of (kernels/kv_cache.h), or NULL */
    const struct kv_lease *lease;
    int32_t kept_rows; /* the first of them are there already; a multiple of CPU_ROW_PAD */
    float *x[MODEL_LAYERS_MAX + 1]; /* (rows, C) in front of each layer, and behind the last */
    float *e;                       /* (candidate rows, C) */
    float *normed[MODEL_LAYERS_MAX], *rstd[MODEL_LAYERS_MAX];
    float *z[MODEL_LAYERS_MAX], *slope[MODEL_LAYERS_MAX];
    float *on[MODEL_LAYERS_MAX], *rstd_o[MODEL_LAYERS_MAX], *y[MODEL_LAYERS_MAX];
    float *mask_x, *mask_y[MODEL_LAYERS_MAX]; /* dropout, or NULL */
    float *packed[MODEL_LAYERS_MAX];          /* K and V of the history */
    uint8_t *buckets;
    int64_t *times; /* (n) of all tokens, where there are some of context */
    float *attention_scratch, *head_tape;
    float *o;                                         /* (rows, C) */
    float *dx, *dy, *d_o, *dz, *de, *weights_scratch; /* training */
};

size_t network_pass_bytes(const struct model_config *config, int32_t Z, int32_t n, int32_t m,
                          bool training, bool dropout);
/* memory: 64-byte aligned, network_pass_bytes() of it. */
void network_pass_begin(struct network_pass *pass, const struct network *network,
                        const struct request *request, bool training, bool states_all, bool dropout,
                        void *memory);

/* scores (m) or NULL. Dropout: p > 0 fills the masks from seed. */
void network_forward(struct network_pass *pass, float *scores, float dropout, uint64_t seed);

/* The history's rows (history rows, C) behind the last layer, after network_forward() with
 * states_all and, when not training, without scores. */
const float *network_states(const struct network_pass *pass);

/* The gradient: dense tensors and item rows are added to. ds (m) of the scores, or NULL; on
 * entry pass->dx (rows, C) holds the gradient of the last states' history rows (candidate rows
 * are written here). */
void network_backward(struct network_pass *pass, struct network_tensors *gradient,
                      struct rows *demb, const float *ds);

/* What model.c hands to trainer.c. */
struct network_state {
    const struct network_layout *layout;
    const struct network *network;
    float *block;      /* all dense tensors, layout->floats */
    const float *text; /* (V, config.text) or NULL */
    float *items;      /* (V, C) item rows as they are trained: without text, network->emb */
    bool on_device;    /* a GPU scores */
};
struct network_state model_network(const struct model *model);
void model_changed(struct model *model);         /* the weights are no longer what was prepared */
void model_away(struct model *model, bool away); /* the newest weights are on a device alone */
/* Brings network.emb up to date after item rows or text.w changed; nothing without text. */
void model_blend(const struct model *model);

/* What model.c hands to those who score; none of it changes meanwhile. */
struct network_scorer {
    const struct network *network;
    const float *inverse_norm; /* (V) of item rows */
    int32_t Z;
    const struct backend *backend;
    const struct device_model *device; /* NULL on the CPU */
    uint64_t version;                  /* of the weights that were prepared last; none twice */
    bool prepared;                     /* since they were changed last: who scores asserts it */
};
struct network_scorer model_scorer(const struct model *model);
/* At least so many bytes of the workspace's memory, 64-byte aligned and finite numbers; what was
 * there is lost where it grows. Errors: ERR_NOMEM */
MUST_CHECK enum status model_workspace_reserve(struct model_workspace *workspace, size_t bytes,
                                               char **memory, struct error *err);
/* Where the workspace has its pass on that device. */
struct device_pass **model_workspace_pass(struct model_workspace *workspace,
                                          const struct backend *backend);

/* ERR_LIMIT when the batch breaks what schemas/batch.h or the config promises. */
MUST_CHECK enum status network_check_batch(const struct model_config *config,
                                           const struct batch *batch, struct error *err);

#endif
