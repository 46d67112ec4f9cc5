/* eval/platt.c - two parameters by damped Newton steps. */
#include "eval/platt.h"

#include <math.h>

#define STEPS_MAX  100
#define HALVES_MAX 30
#define DONE       1e-10 /* of the mean loss */
#define RIDGE      1e-9

struct targets {
    double positive, negative; /* what labels of each kind are taken for */
    bool chances;              /* labels are chances already */
};

struct slopes {
    double loss, a, b, aa, ab, bb;
};

static struct slopes slopes_at(double a, double b, const float *scores, const float *labels,
                               int64_t count, struct targets targets)
{
    struct slopes s = {.aa = RIDGE, .bb = RIDGE};

    for (int64_t i = 0; i < count; i++) {
        double x = (double)scores[i], y = targets.chances ? (double)labels[i]
                                          : labels[i] > 0 ? targets.positive
                                                          : targets.negative;
        double z = a * x + b, p, off;

        if (!isfinite(scores[i]))
            continue;
        p = z > 0 ? 1 / (1 + exp(-z)) : exp(z) / (1 + exp(z));
        off = p - y;
        s.loss += (z > 0 ? z + log1p(exp(-z)) : log1p(exp(z))) - y * z;
        s.a += off * x;
        s.b += off;
        s.aa += p * (1 - p) * x * x;
        s.ab += p * (1 - p) * x;
        s.bb += p * (1 - p);
    }
    return s;
}

/* Damped Newton steps from (1, 0). */
static bool fit(struct platt *platt, const float *scores, const float *labels, int64_t count,
                struct targets targets)
{
    double a = 1, b = 0;
    struct slopes s = slopes_at(a, b, scores, labels, count, targets);

    for (int step = 0; step < STEPS_MAX; step++) {
        double det = s.aa * s.bb - s.ab * s.ab;
        double da = (s.bb * s.a - s.ab * s.b) / det, db = (s.aa * s.b - s.ab * s.a) / det;
        struct slopes next = s;

        if (!(det > 0))
            break;
        for (int halved = 0; halved < HALVES_MAX; halved++, da /= 2, db /= 2) {
            next = slopes_at(a - da, b - db, scores, labels, count, targets);
            if (next.loss < s.loss)
                break;
        }
        if (!(next.loss < s.loss))
            break;
        a -= da;
        b -= db;
        if (s.loss - next.loss < DONE * (double)count)
            break;
        s = next;
    }
    if (!isfinite(a) || !isfinite(b))
        return false;
    *platt = (struct platt){(float)a, (float)b};
    return true;
}

bool platt_fit(struct platt *platt, const float *scores, const float *labels, int64_t count)
{
    double positives = 0, negatives = 0;

    *platt = (struct platt){1, 0};
    for (int64_t i = 0; i < count; i++) {
        positives += isfinite(scores[i]) && labels[i] > 0;
        negatives += isfinite(scores[i]) && !(labels[i] > 0);
    }
    if (positives == 0 || negatives == 0)
        return false;
    return fit(platt, scores, labels, count,
               (struct targets){(positives + 1) / (positives + 2), 1 / (negatives + 2), false});
}

bool platt_fit_chances(struct platt *platt, const float *scores, const float *targets,
                       int64_t count)
{
    double positive = 0, negative = 0;

    *platt = (struct platt){1, 0};
    for (int64_t i = 0; i < count; i++) {
        positive += isfinite(scores[i]) ? (double)targets[i] : 0;
        negative += isfinite(scores[i]) ? 1 - (double)targets[i] : 0;
    }
    return positive > 0 && negative > 0 &&
           fit(platt, scores, targets, count, (struct targets){.chances = true});
}
