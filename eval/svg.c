/* eval/svg.c - axes, ticks, lines and a legend, written by hand. */
#include "eval/svg.h"

#include "ops/file.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define WIDTH  760
#define HEIGHT 300 /* of a plot */
#define LEFT   70
#define RIGHT  170
#define TOP    40
#define BOTTOM 45
#define TITLE  36
#define TICKS  5

static const char *const colours[SVG_LINES_MAX] = {"#0b6e99", "#d9480f", "#2b8a3e", "#862e9c",
                                                   "#e67700", "#364fc7", "#a61e4d", "#495057"};

struct range {
    double low, high;
};

static void put_text(FILE *to, const char *text)
{
    for (; *text != 0; text++) {
        if (*text == '<')
            (void)fputs("&lt;", to);
        else if (*text == '>')
            (void)fputs("&gt;", to);
        else if (*text == '&')
            (void)fputs("&amp;", to);
        else if (*text == '"')
            (void)fputs("&quot;", to);
        else
            (void)fputc(*text, to);
    }
}

static void widen(struct range *range, double value)
{
    if (!isfinite(value))
        return;
    range->low = value < range->low ? value : range->low;
    range->high = value > range->high ? value : range->high;
}

/* A range that has a width. */
static struct range settled(struct range range)
{
    if (!(range.low <= range.high))
        return (struct range){0, 1};
    if (range.low == range.high)
        return (struct range){range.low - .5, range.high + .5};
    return range;
}

static double place(double value, struct range range, double from, double to)
{
    return from + (value - range.low) / (range.high - range.low) * (to - from);
}

static void put_axes(FILE *to, const struct svg_plot *plot, struct range x, struct range y, int top)
{
    int right = WIDTH - RIGHT, bottom = top + HEIGHT - BOTTOM, up = top + TOP;

    (void)fprintf(to, "<text x=\"%d\" y=\"%d\" font-weight=\"bold\">", LEFT, top + TOP / 2 + 6);
    put_text(to, plot->title);
    (void)fprintf(to,
                  "</text>\n<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"none\" "
                  "stroke=\"#adb5bd\"/>\n",
                  LEFT, up, right - LEFT, bottom - up);
    for (int i = 0; i <= TICKS; i++) {
        double vx = x.low + (x.high - x.low) * i / TICKS, vy = y.low + (y.high - y.low) * i / TICKS;
        double px = place(vx, x, LEFT, right), py = place(vy, y, bottom, up);

        (void)fprintf(to,
                      "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.4g</text>\n"
                      "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#e9ecef\"/>\n"
                      "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n",
                      px, bottom + 16, vx, LEFT, py, right, py, LEFT - 6, py + 4, vy);
    }
    (void)fprintf(to, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">", (LEFT + right) / 2,
                  bottom + 34);
    put_text(to, plot->x_name);
    (void)fprintf(to, "</text>\n");
}

static void put_plot(FILE *to, const struct svg_plot *plot, int top)
{
    struct range x = {INFINITY, -INFINITY}, y = {INFINITY, -INFINITY};
    int right = WIDTH - RIGHT, bottom = top + HEIGHT - BOTTOM, up = top + TOP;

    assert(plot->lines_count <= SVG_LINES_MAX);
    for (int l = 0; l < plot->lines_count; l++) {
        for (int i = 0; i < plot->lines[l].count; i++) {
            widen(&x, plot->lines[l].x[i]);
            widen(&y, plot->lines[l].y[i]);
        }
    }
    x = settled(x);
    y = settled(y);
    put_axes(to, plot, x, y, top);
    for (int l = 0; l < plot->lines_count; l++) {
        const struct svg_line *line = &plot->lines[l];

        (void)fprintf(to, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" points=\"",
                      colours[l]);
        for (int i = 0; i < line->count; i++)
            if (isfinite(line->x[i]) && isfinite(line->y[i]))
                (void)fprintf(to, "%.1f,%.1f ", place(line->x[i], x, LEFT, right),
                              place(line->y[i], y, bottom, up));
        (void)fprintf(to, "\"/>\n<text x=\"%d\" y=\"%d\" fill=\"%s\">", right + 10,
                      up + 14 + 18 * l, colours[l]);
        put_text(to, line->name);
        (void)fprintf(to, "</text>\n");
    }
}

enum status svg_write(const char *path, const char *title, const struct svg_plot *plots,
                      int plots_count, struct error *err)
{
    char *bytes = NULL;
    size_t count = 0;
    FILE *to = open_memstream(&bytes, &count);
    enum status status;

    assert(plots_count >= 1 && plots_count <= SVG_PLOTS_MAX);
    if (to == NULL)
        return error_set(err, ERR_NOMEM, "no memory for a plot");
    (void)fprintf(to,
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                  "font-family=\"sans-serif\" font-size=\"12\" fill=\"#212529\">\n"
                  "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n"
                  "<text x=\"%d\" y=\"24\" font-size=\"16\">",
                  WIDTH, TITLE + plots_count * HEIGHT, LEFT);
    put_text(to, title);
    (void)fprintf(to, "</text>\n");
    for (int p = 0; p < plots_count; p++)
        put_plot(to, &plots[p], TITLE + p * HEIGHT);
    (void)fprintf(to, "</svg>\n");
    if (fclose(to) != 0) {
        free(bytes);
        return error_set(err, ERR_NOMEM, "no memory for a plot");
    }
    status = file_replace(path, bytes, count, err);
    free(bytes);
    return status;
}
