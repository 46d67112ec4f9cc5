/*
 * retrain/gate.h - may these weights be served? With a reason that an operator can read.
 *
 * Flow: evaluation, weights, files as written -> [gates] -> publish, or refuse
 *
 *   integrity  every weight is finite, and no item row is far longer than the others
 *   parity     the weights as read back from the files score golden lists as those in memory do
 *   features   no scalar knows the answer: in the lists that training learns from it says of a
 *              choice what it says in serving, and none tells clicked rows from others without
 *              a fault
 *   quality    more than popularity (for certain) and than co-visitation: freshet never ships
 *              less; and against the champion: better, and not worse beyond a slack for certain
 *
 * A gate that could not be asked (no champion yet) says so. Calibration and behaviour have none.
 */
#ifndef RETRAIN_GATE_H
#define RETRAIN_GATE_H

#include "features/item_tables.h"
#include "kernels/model.h"
#include "retrain/evaluate.h"
#include "retrain/lists.h"

#include <stdbool.h>

#define GATE_REPORT_BYTES 1024
#define GATE_ROW_NORM_MAX 100.0 /* times the median of rows that were learnt */
#define GATE_PARITY_MAX   1e-3
#define GATE_GOLDEN_LISTS 64
#define GATE_LISTS_MIN    50   /* below so many the features are not judged */
#define GATE_KNOWS_MORE   .02  /* that a scalar may put the choice higher in training */
#define GATE_KNOWS_ALL    .995 /* of the rows not clicked below the clicked ones: too good */

struct gate {
    bool passed;                    /* all so far */
    char refusal[240];              /* why not, from the first gate that refused */
    char report[GATE_REPORT_BYTES]; /* a line a gate */
};
void gate_begin(struct gate *gate);

struct gate_options {
    int64_t events_min;    /* held-out choices below which nothing can be said */
    double champion_slack; /* share of the champion's NDCG that may be lost at worst */
};
void gate_quality(struct gate *gate, const struct evaluation *evaluation,
                  const struct gate_options *options);
void gate_integrity(struct gate *gate, struct model *model);
/* A line, never a refusal: what rounding to bf16 changes, and whether serve may. */
void gate_rounding(struct gate *gate, const struct evaluation *evaluation);
/* shown: the pool of shown lists, with the counts that came with them. */
void gate_features(struct gate *gate, const struct evaluation *evaluation,
                   const struct lists *shown);
/* pool: where golden lists are taken from. Errors: ERR_NOMEM, ERR_LIMIT */
MUST_CHECK enum status gate_parity(struct gate *gate, const struct model *memory,
                                   const struct model *files, const struct item_tables *tables,
                                   struct lists *pool, struct error *err);

#endif
