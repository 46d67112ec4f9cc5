/* ops/levenshtein.c - the distance by three rows of the usual table. */
#include "ops/levenshtein.h"

#include <ctype.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>

static bool same(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

static int least(int a, int b, int c)
{
    int ab = a < b ? a : b;

    return ab < c ? ab : c;
}

int levenshtein_distance(const char *a, const char *b)
{
    int rows[3][LEVENSHTEIN_BYTES_MAX + 1];
    size_t a_bytes = strnlen(a, LEVENSHTEIN_BYTES_MAX + 1);
    size_t b_bytes = strnlen(b, LEVENSHTEIN_BYTES_MAX + 1);

    if (a_bytes > LEVENSHTEIN_BYTES_MAX || b_bytes > LEVENSHTEIN_BYTES_MAX)
        return INT_MAX;
    for (size_t j = 0; j <= b_bytes; j++)
        rows[0][j] = (int)j;
    for (size_t i = 1; i <= a_bytes; i++) {
        int *row = rows[i % 3];
        const int *before = rows[(i + 2) % 3];
        const int *before_that = rows[(i + 1) % 3];

        row[0] = (int)i;
        for (size_t j = 1; j <= b_bytes; j++) {
            row[j] = least(before[j] + 1, row[j - 1] + 1,
                           before[j - 1] + !same(a[i - 1], b[j - 1]));
            if (i > 1 && j > 1 && same(a[i - 1], b[j - 2]) && same(a[i - 2], b[j - 1]) &&
                before_that[j - 2] + 1 < row[j])
                row[j] = before_that[j - 2] + 1;
        }
    }
    return rows[a_bytes % 3][b_bytes];
}

/* Bytes of the words at the beginning that both have, with what ends them. */
static size_t shared_words(const char *typed, const char *candidate)
{
    size_t words = 0;

    for (size_t i = 0; typed[i] != 0 && same(typed[i], candidate[i]); i++)
        if (strchr("._- ", typed[i]) != NULL)
            words = i + 1;
    return words;
}

void levenshtein_offer(struct levenshtein_nearest *nearest, const char *typed,
                       const char *candidate)
{
    size_t shared = shared_words(typed, candidate);
    size_t rest = strnlen(typed, LEVENSHTEIN_BYTES_MAX) - shared;
    int allowed = (int)(rest / 3);
    int distance = levenshtein_distance(typed, candidate);
    int least_allowed = shared > 0 && rest >= 4 ? 2 : 1;

    if (allowed < least_allowed)
        allowed = least_allowed;
    if (allowed > 4)
        allowed = 4;
    if (distance > allowed || (nearest->name != NULL && distance >= nearest->distance))
        return;
    nearest->name = candidate;
    nearest->distance = distance;
}
