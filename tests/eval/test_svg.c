/* Tests eval/svg: odd numbers and odd names still make a well-formed picture. */
#include "eval/svg.h"

#include "tests/retrain/retrain_fixture.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct error err;

static char *drawn(const struct svg_plot *plots, int count)
{
    char path[300];
    size_t bytes;

    (void)snprintf(path, sizeof path, "%s/plot.svg", test_folder());
    CHECK_STATUS(OK, svg_write(path, "a <b> & \"c\"", plots, count, &err));
    return retrain_read(path, &bytes);
}

TEST(svg_draws_points_that_are_finite_and_leaves_out_the_rest)
{
    const double x[] = {1, 2, 3, 4}, y[] = {.5, NAN, INFINITY, .25};
    const struct svg_line line = {"y", x, y, 4};
    const struct svg_plot plot = {"t", "x", &line, 1};
    char *svg = drawn(&plot, 1), *points = strstr(svg, "points=\"");

    CHECK(points != NULL && strstr(svg, "nan") == NULL && strstr(svg, "inf") == NULL);
    CHECK(strchr(strchr(points, ',') + 1, ',') < strchr(points + 8, '"')); /* two of them */
    CHECK(strstr(svg, "a &lt;b&gt; &amp; &quot;c&quot;") != NULL);
    CHECK(strcmp(svg + strlen(svg) - 7, "</svg>\n") == 0);
    free(svg);
}

TEST(svg_of_nothing_and_of_one_value_has_axes)
{
    const double x[] = {3, 3}, y[] = {7, 7};
    const struct svg_line lines[] = {{"none", NULL, NULL, 0}, {"same", x, y, 2}};
    const struct svg_plot plots[] = {{"none", "x", lines, 1}, {"same", "x", lines + 1, 1}};
    char *svg = drawn(plots, 2);

    CHECK(strstr(svg, "nan") == NULL && strstr(svg, "inf") == NULL);
    CHECK(strstr(svg, ">none<") != NULL && strstr(svg, ">same<") != NULL);
    free(svg);
}

TEST(svg_that_cannot_be_written_says_so)
{
    const struct svg_plot plot = {"t", "x", NULL, 0};

    CHECK_STATUS(ERR_IO, svg_write("/nowhere/at/all.svg", "t", &plot, 1, &err));
}
