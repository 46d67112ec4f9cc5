/*
 * eval/svg.h - lines in plots, as an SVG file that needs nothing else to be looked at.
 *
 * Flow: eval, backtest -> [svg] -> file -> a browser
 * Thread: any.
 */
#ifndef EVAL_SVG_H
#define EVAL_SVG_H

#include "ops/status.h"

#define SVG_LINES_MAX 8
#define SVG_PLOTS_MAX 4

struct svg_line {
    const char *name;
    const double *x, *y; /* (count); points that are not finite are left out */
    int count;
};

struct svg_plot {
    const char *title, *x_name;
    const struct svg_line *lines;
    int lines_count; /* at most SVG_LINES_MAX */
};

/* Plots below each other, each with axes of its own range; texts are escaped. Replaces the file.
 * Errors: ERR_IO, ERR_NOMEM */
MUST_CHECK enum status svg_write(const char *path, const char *title, const struct svg_plot *plots,
                                 int plots_count, struct error *err);

#endif
