/*
 * eval/eval_report.h - an evaluation as a table, as JSON and as a plot.
 *
 * Flow: eval -> [report] -> standard output, a file
 *
 * The JSON is one object: "rows", each with "name", "hr@K", "ndcg@K" and the rest, the model's
 * first; what was read, split and masked; "settings", "training_s" and the "curve". The plot is an
 * SVG of the learning curve: loss and validation NDCG@10 by epoch, baselines' test NDCG@10 as
 * lines. Thread: one.
 */
#ifndef EVAL_REPORT_H
#define EVAL_REPORT_H

#include "eval/eval.h"

#include <stdio.h>

/* Errors: ERR_NOMEM, ERR_LIMIT */
MUST_CHECK enum status eval_report_json(const struct eval_result *result,
                                        const struct eval_options *options, FILE *to,
                                        struct error *err);
void eval_report_table(const struct eval_result *result, const struct eval_options *options,
                       FILE *to);
/* Errors: ERR_IO, ERR_NOMEM */
MUST_CHECK enum status eval_report_svg(const struct eval_result *result, const char *path,
                                       struct error *err);

#endif
