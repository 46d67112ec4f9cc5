/* eval/eval_inside.h - between eval.c, which makes ranks, and eval_rows.c, which sums them up.
 */
#ifndef EVAL_INSIDE_H
#define EVAL_INSIDE_H

#include "eval/eval.h"

/* Rows, slices, fairness and stability of the result. Errors: ERR_NOMEM */
MUST_CHECK enum status eval_fill_rows(struct eval_result *result,
                                      const struct full_ranking_world *world,
                                      const struct full_ranking *ranking, struct error *err);

#endif
