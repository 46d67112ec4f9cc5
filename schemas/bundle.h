/*
 * schemas/bundle.h - a model bundle: a folder of files that the trainer publishes and the scorer
 * loads. Hostile until checked.
 *
 *   weights.safetensors   named float32 tensors (the public format); absent in a tables-only bundle
 *   items                 the item tables (schemas/item_file.h): hash -> name, row, counts,
 *                         co-visitation
 *   manifest.json         version, parent, format, created_at, preset, shape of the model, scalar
 *                         names in order, config hash, seed, data offsets, metrics, gate report,
 *                         sha256 of every file
 * Root folder: <root>/<version>/..., the regular file <root>/current holding the version's name,
 * and <root>/items.delta, replaced every few seconds: the item rows changed since the bundle it
 * names (BUNDLE_DELTA_NAME; a delta of another bundle than the current one is not for it).
 * Publishing writes <root>/.new-<version>, fsyncs every file and the folder, renames it, fsyncs
 * root, and replaces `current` last.
 */
#ifndef SCHEMAS_BUNDLE_H
#define SCHEMAS_BUNDLE_H

#include "ops/status.h"
#include "ops/text.h"
#include "schemas/trace.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUNDLE_FORMAT      1
#define BUNDLE_ITEMS_NAME  "items"
#define BUNDLE_DELTA_NAME  "items.delta"
#define BUNDLE_TENSORS_MAX 256
#define BUNDLE_DIMS_MAX    4
#define BUNDLE_WEIGHTS_MAX (INT64_C(8) << 30) /* bytes */
#define BUNDLE_METRICS_MAX 64
/* Metrics of the manifest: what bf16 products change of the held-out NDCG@10 (the portable way's,
 * on a CPU), and the end of its 95 % interval that is farther from 0, without its sign; and how
 * much of that serve takes for speed without being asked. */
#define BUNDLE_BF16_CHANGE     "bf16_ndcg@10_change"
#define BUNDLE_BF16_MOST       "bf16_ndcg@10_change_most"
#define BUNDLE_BF16_CHANGE_MAX .001
#define BUNDLE_SCALARS_MAX     64
#define BUNDLE_OFFSETS_MAX     1024

/* One tensor: float32, row-major. */
struct tensor {
    char name[64];
    int dims_count;
    int64_t dims[BUNDLE_DIMS_MAX];
    float *data; /* (product of dims) */
};

/* ---- safetensors ----
 *
 *    0  header bytes  8  little-endian
 *    8  header           {"name":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]}, ...,
 *                         "__metadata__":{"text":"text"}}, blanks behind it
 *    .  data             little-endian float32; offsets count from here and tile it
 *
 * The data begins at a multiple of 64 bytes. Source: the public format's description.
 */
#define SAFETENSORS_HEADER_MAX (1 << 20)

/* Writes tensors, in the order given, and fsyncs. Names must differ, dims fit the limits (assert).
 * Errors: ERR_IO */
MUST_CHECK enum status safetensors_write(const char *path, const struct tensor *tensors, int count,
                                         struct error *err);

struct safetensors; /* owns the memory behind its tensors */
/**
 * Reads and checks: a regular file and no link, header length and JSON bounds, dtype F32, offsets
 * that tile the data with no overlap and no hole, finite values, no duplicate name. Nothing is
 * allocated from a number in the file before it has been compared with the length of the file.
 * Each tensor's data is 64-byte aligned in memory.
 * Errors: ERR_IO, ERR_NOT_FOUND, ERR_MALFORMED, ERR_LIMIT, ERR_NOMEM. Owner: caller, _destroy().
 */
MUST_CHECK enum status safetensors_read(struct safetensors **file, const char *path,
                                        struct error *err);
int safetensors_count(const struct safetensors *file);
const struct tensor *safetensors_at(const struct safetensors *file, int index);
const struct tensor *safetensors_find(const struct safetensors *file, const char *name); /* NULL */
void safetensors_destroy(struct safetensors *file); /* NULL is fine */

/* What safetensors_read() believes of a header, for tests: names and dims in the order of the
 * data, data NULL, begins[i] the tensor's offset. Errors: ERR_MALFORMED, ERR_LIMIT, ERR_NOMEM */
MUST_CHECK enum status safetensors_parse_header(struct text header, int64_t data_bytes,
                                                struct tensor tensors[BUNDLE_TENSORS_MAX],
                                                int64_t begins[BUNDLE_TENSORS_MAX], int *count,
                                                struct error *err);

/* ---- manifest ----
 *
 *     {"format":1,"version":"v000012-3f9a","parent":"","created_at_ms":...,
 *      "trained_until_ms":...,"preset":"small","shape":{"layers":2,...},"scalars":["..."],
 *      "item_seed":"0123456789abcdef","seed":"...","config_hash":"...",
 *      "offsets":[{"topic":"events","partition":0,"from":0,"to":10}],
 *      "metrics":{"ndcg@10":0.12},"gate":"...","files":[{"name":"items","sha256":"...","bytes":9}]}
 *
 * Seeds are hexadecimal texts, because JSON readers lose integers beyond 2^53. A metric that is
 * not finite is null there and NaN here. Unknown members are ignored; a duplicate member's last
 * counts.
 */
#define MANIFEST_NAME      "manifest.json"
#define MANIFEST_BYTES_MAX (1 << 20)

struct manifest_metric {
    char name[48]; /* "ndcg@10", "champion.ndcg@10", "popularity_7d.hr@20" */
    double value;
};
struct manifest_offset {
    char topic[32];
    int32_t partition;
    int64_t from, to; /* records trained on: [from, to) */
};
struct manifest {
    char version[MODEL_VERSION_MAX]; /* "v000012-3f9a" */
    char parent[MODEL_VERSION_MAX];  /* "" for the first */
    int64_t created_at_ms;
    int64_t trained_until_ms; /* event time of the newest example learnt from */
    char preset[16];          /* "small"; "" for a tables-only bundle */
    /* Shape of the model, as kernels/model.h names it: name/value pairs of integers. */
    struct {
        char name[32];
        int64_t value;
    } shape[32];
    int shape_count;
    char scalars[BUNDLE_SCALARS_MAX][32]; /* names in the order of the model's inputs */
    int scalars_count;
    uint64_t item_seed; /* seed of item and user hashes (the data set's) */
    uint64_t seed;
    char config_hash[17];
    struct manifest_offset offsets[BUNDLE_OFFSETS_MAX];
    int offsets_count;
    struct manifest_metric metrics[BUNDLE_METRICS_MAX];
    int metrics_count;
    char gate[1024]; /* the gate's report, a line a gate */
    struct {
        char name[48];
        char sha256[65];
        int64_t bytes;
    } files[8];
    int files_count;
};
/* Returns the bytes, 0 when they do not fit; MANIFEST_BYTES_MAX are enough for every manifest. */
size_t manifest_encode(const struct manifest *manifest, char *into, size_t bytes);
/* Errors: ERR_MALFORMED (a text too long for its field, a name that is no name, ...), ERR_VERSION,
 * ERR_LIMIT, ERR_NOMEM */
MUST_CHECK enum status manifest_decode(struct manifest *manifest, struct text from,
                                       struct error *err);

/* ---- the folder ---- */

/* A version or file name: letters, digits, '.', '_', '-', not beginning with '.', at most
 * bytes_max - 1 bytes; never a path. */
bool bundle_name_valid(const char *name, size_t bytes_max);

/* Can users other than the owner write to the root folder (or a version's, if not NULL)? Then the
 * digests in it prove nothing: warn. */
bool bundle_exposed(const char *root, const char *version);

/**
 * Makes <root>/.new-<version> ready for files; *folder is malloc'ed. There is one writer a root,
 * so what other `.new-` folders a crash has left is removed first.
 * Errors: ERR_MALFORMED (version is no name), ERR_CONFLICT (it exists), ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum status bundle_begin(const char *root, const char *version, char **folder,
                                    struct error *err);
/**
 * Hashes the files named in it, writes manifest.json, syncs, renames, moves `current` when
 * make_current. manifest->files is filled.
 * Errors: ERR_MALFORMED (a name that is none), ERR_LIMIT, ERR_NOT_FOUND (a file is not there),
 *         ERR_IO; before the rename nothing is visible.
 */
MUST_CHECK enum status bundle_publish(const char *root, struct manifest *manifest,
                                      const char *const *files, int files_count, bool make_current,
                                      struct error *err);
/* Errors: ERR_MALFORMED, ERR_NOT_FOUND (no such version), ERR_IO */
MUST_CHECK enum status bundle_set_current(const char *root, const char *version, struct error *err);
/* The version in `current`. Errors: ERR_NOT_FOUND (none yet), ERR_MALFORMED, ERR_IO, ERR_NOMEM */
MUST_CHECK enum status bundle_current(const char *root, char version[MODEL_VERSION_MAX],
                                      struct error *err);
/**
 * Reads manifest.json of a version and checks that it is of this version, and every file's kind,
 * size and sha256. Links are refused.
 * Errors: ERR_NOT_FOUND (no such version), ERR_MALFORMED, ERR_CORRUPT (a file is missing, or is not
 *         the one the manifest names), ERR_VERSION, ERR_LIMIT, ERR_IO, ERR_NOMEM
 */
MUST_CHECK enum status bundle_verify(const char *root, const char *version,
                                     struct manifest *manifest, struct error *err);
/* Removes all but the newest `keep` versions (by number), never the current one nor its
 * parent. What has no readable manifest is none of ours and stays. Errors: ERR_IO, ERR_NOMEM */
MUST_CHECK enum status bundle_prune(const char *root, int keep, struct error *err);

#endif
