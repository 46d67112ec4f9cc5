/*
 * ops/metric.c - cells a thread, and their sum as Prometheus text.
 *
 * A metric owns METRIC_THREADS_MAX rows of 64-bit words, each row padded to whole cache
 * lines. A thread takes a row index at its first increment and gives it back when it
 * ends, so all but the last row have one writer and need no locked instruction. The
 * last row is shared by the threads beyond the 63rd and is changed atomically.
 *
 * A row of a counter: one word a label. Of a histogram: a label's block of one word a
 * bucket, one for the bucket above all bounds, one for the sum (a double's bits).
 * A gauge has one row, for it is set and not added to.
 */
#include "ops/metric.h"

#include "ops/metric_private.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_PER_LINE 8
#define SHARED_ROW     (METRIC_THREADS_MAX - 1)
#define REFRESH_MAX    16
/* A NaN that no sum gives: this series of an optional gauge is not set. */
#define UNSET UINT64_C(0x7ff8000066726573)

struct metric_cells {
    size_t words;  /* of a row that are used */
    size_t stride; /* words from row to row */
    size_t block;  /* words a label */
    _Atomic uint64_t *at;
};

const struct metric_buckets metric_buckets_latency = {
    21, {.0001, .0002, .0005, .001, .002, .003, .005, .0075, .01, .015, .025,
         .05,   .1,    .25,   .5,   1,    5,    10,   15,    20,  30}};
const struct metric_buckets metric_buckets_size = {19,
                                                   {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000,
                                                    5000, 10000, 20000, 50000, 100000, 200000,
                                                    500000, 1000000}};

static struct metric *first; /* ordered by name; changed before main() only */
static void (*refreshers[REFRESH_MAX])(void);
static int refreshers_count;

/* Bit i is set while row i belongs to a thread. */
static _Atomic uint64_t rows_taken;
static pthread_key_t row_key;
static pthread_once_t row_key_once = PTHREAD_ONCE_INIT;
static _Thread_local int row_of_thread = -1;

_Static_assert(METRIC_THREADS_MAX == 64, "rows_taken has a bit a row");

static void give_row_back(void *row_plus_one)
{
    int row = (int)(intptr_t)row_plus_one - 1;

    row_of_thread = SHARED_ROW; /* for what other destructors of this thread still count */
    /* Release: the next owner must see our last plain additions. */
    atomic_fetch_and_explicit(&rows_taken, ~(1ull << row), memory_order_release);
}

static void make_row_key(void)
{
    if (pthread_key_create(&row_key, give_row_back) != 0)
        abort();
}

static int take_row(void)
{
    uint64_t taken = atomic_load(&rows_taken);

    (void)pthread_once(&row_key_once, make_row_key);
    for (;;) {
        uint64_t unused = ~taken & ~(1ull << SHARED_ROW);
        int row = unused == 0 ? SHARED_ROW : __builtin_ctzll(unused);

        if (row == SHARED_ROW)
            break;
        if (!atomic_compare_exchange_weak_explicit(&rows_taken, &taken, taken | 1ull << row,
                                                   memory_order_acq_rel, memory_order_relaxed))
            continue;
        if (pthread_setspecific(row_key, (void *)(intptr_t)(row + 1)) == 0) {
            row_of_thread = row;
            return row;
        }
        atomic_fetch_and(&rows_taken, ~(1ull << row));
        break;
    }
    row_of_thread = SHARED_ROW;
    return SHARED_ROW;
}

static int my_row(void)
{
    return row_of_thread >= 0 ? row_of_thread : take_row();
}

static void add_word(_Atomic uint64_t *word, int row, uint64_t n)
{
    if (row == SHARED_ROW)
        atomic_fetch_add_explicit(word, n, memory_order_relaxed);
    else
        atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) + n,
                              memory_order_relaxed);
}

static double double_of(uint64_t bits)
{
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t bits_of(double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static void add_double(_Atomic uint64_t *word, int row, double more)
{
    uint64_t old = atomic_load_explicit(word, memory_order_relaxed);

    if (row != SHARED_ROW) {
        atomic_store_explicit(word, bits_of(double_of(old) + more), memory_order_relaxed);
        return;
    }
    while (!atomic_compare_exchange_weak_explicit(word, &old, bits_of(double_of(old) + more),
                                                  memory_order_relaxed, memory_order_relaxed))
        continue;
}

/* As before anything was counted or set. */
static void empty(struct metric *metric)
{
    size_t rows = metric->kind == METRIC_GAUGE_KIND ? 1 : METRIC_THREADS_MAX;

    for (size_t i = 0; i < rows * metric->cells->stride; i++)
        atomic_store_explicit(&metric->cells->at[i], metric->optional ? UNSET : 0,
                              memory_order_relaxed);
}

static bool name_is_valid(const char *name)
{
    size_t bytes = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");

    return bytes > 0 && name[bytes] == 0 && (name[0] < '0' || name[0] > '9');
}

void metric_register(struct metric *metric)
{
    struct metric_cells *cells = calloc(1, sizeof *cells);
    struct metric **at = &first;
    size_t rows = metric->kind == METRIC_GAUGE_KIND ? 1 : METRIC_THREADS_MAX;

    assert(name_is_valid(metric->name) && metric->help != NULL);
    assert(metric->labels_count >= 1 && metric->labels_count <= METRIC_LABELS_MAX);
    assert((metric->label == NULL) == (metric->label_values == NULL));
    assert(!metric->optional || metric->kind == METRIC_GAUGE_KIND);
    assert((metric->kind == METRIC_HISTOGRAM_KIND) == (metric->buckets != NULL));
    if (cells == NULL)
        abort(); /* before main(): there is nobody to tell */
    cells->block = metric->buckets == NULL ? 1 : (size_t)metric->buckets->count + 2;
    cells->words = cells->block * (size_t)metric->labels_count;
    cells->stride = (cells->words + WORDS_PER_LINE - 1) / WORDS_PER_LINE * WORDS_PER_LINE;
    cells->at = aligned_alloc(64, rows * cells->stride * sizeof *cells->at);
    if (cells->at == NULL)
        abort();
    metric->cells = cells;
    empty(metric);
    while (*at != NULL && strcmp((*at)->name, metric->name) < 0)
        at = &(*at)->next;
    assert(*at == NULL || strcmp((*at)->name, metric->name) != 0); /* declared twice */
    metric->next = *at;
    *at = metric;
}

void metric_on_render(void (*refresh)(void))
{
    assert(refreshers_count < REFRESH_MAX);
    refreshers[refreshers_count++] = refresh;
}

void metric_add(struct metric *counter, uint64_t n)
{
    metric_add_of(counter, 0, n);
}

void metric_add_of(struct metric *counter, int label, uint64_t n)
{
    const struct metric_cells *cells = counter->cells;
    int row = my_row();

    assert(counter->kind == METRIC_COUNTER_KIND && label >= 0 && label < counter->labels_count);
    add_word(&cells->at[(size_t)row * cells->stride + (size_t)label], row, n);
}

void metric_set(struct metric *gauge, double value)
{
    metric_set_of(gauge, 0, value);
}

void metric_set_of(struct metric *gauge, int label, double value)
{
    assert(gauge->kind == METRIC_GAUGE_KIND && label >= 0 && label < gauge->labels_count);
    atomic_store_explicit(&gauge->cells->at[label], bits_of(value), memory_order_relaxed);
}

void metric_unset(struct metric *gauge)
{
    metric_unset_of(gauge, 0);
}

void metric_unset_of(struct metric *gauge, int label)
{
    assert(gauge->optional && label >= 0 && label < gauge->labels_count);
    atomic_store_explicit(&gauge->cells->at[label], UNSET, memory_order_relaxed);
}

bool metric_is_unset(const struct metric *metric, int label)
{
    return metric->optional &&
           atomic_load_explicit(&metric->cells->at[label], memory_order_relaxed) == UNSET;
}

void metric_observe(struct metric *histogram, double value)
{
    metric_observe_of(histogram, 0, value);
}

void metric_observe_of(struct metric *histogram, int label, double value)
{
    const struct metric_cells *cells = histogram->cells;
    const struct metric_buckets *buckets = histogram->buckets;
    int row = my_row();
    int bucket = 0;
    _Atomic uint64_t *block;

    assert(histogram->kind == METRIC_HISTOGRAM_KIND);
    assert(label >= 0 && label < histogram->labels_count);
    if (isnan(value))
        return;
    if (value < 0)
        value = 0;
    while (bucket < buckets->count && value > buckets->upper[bucket])
        bucket++;
    block = cells->at + (size_t)row * cells->stride + (size_t)label * cells->block;
    add_word(&block[bucket], row, 1);
    add_double(&block[buckets->count + 1], row, value);
}

static uint64_t sum_words(const struct metric *metric, size_t word)
{
    const struct metric_cells *cells = metric->cells;
    uint64_t sum = 0;

    for (size_t row = 0; row < METRIC_THREADS_MAX; row++)
        sum += atomic_load_explicit(&cells->at[row * cells->stride + word], memory_order_relaxed);
    return sum;
}

static double sum_doubles(const struct metric *metric, size_t word)
{
    const struct metric_cells *cells = metric->cells;
    double sum = 0;

    for (size_t row = 0; row < METRIC_THREADS_MAX; row++)
        sum += double_of(
            atomic_load_explicit(&cells->at[row * cells->stride + word], memory_order_relaxed));
    return sum;
}

uint64_t metric_count(const struct metric *counter)
{
    uint64_t sum = 0;

    for (int label = 0; label < counter->labels_count; label++)
        sum += metric_count_of(counter, label);
    return sum;
}

uint64_t metric_count_of(const struct metric *counter, int label)
{
    assert(counter->kind == METRIC_COUNTER_KIND && label >= 0 && label < counter->labels_count);
    return sum_words(counter, (size_t)label);
}

double metric_value(const struct metric *gauge)
{
    return metric_value_of(gauge, 0);
}

double metric_value_of(const struct metric *gauge, int label)
{
    assert(gauge->kind == METRIC_GAUGE_KIND && label >= 0 && label < gauge->labels_count);
    return double_of(atomic_load_explicit(&gauge->cells->at[label], memory_order_relaxed));
}

uint64_t metric_bucket_count(const struct metric *histogram, int label, int bucket)
{
    return sum_words(histogram, (size_t)label * histogram->cells->block + (size_t)bucket);
}

double metric_label_sum(const struct metric *histogram, int label)
{
    return sum_doubles(histogram, (size_t)label * histogram->cells->block +
                                      (size_t)histogram->buckets->count + 1);
}

uint64_t metric_observations(const struct metric *histogram)
{
    uint64_t sum = 0;

    for (int label = 0; label < histogram->labels_count; label++)
        for (int i = 0; i <= histogram->buckets->count; i++)
            sum += metric_bucket_count(histogram, label, i);
    return sum;
}

double metric_sum(const struct metric *histogram)
{
    double sum = 0;

    for (int label = 0; label < histogram->labels_count; label++)
        sum += metric_label_sum(histogram, label);
    return sum;
}

/* Linear inside the bucket, as Prometheus does; above all bounds the last bound. */
double metric_quantile(const struct metric *histogram, double q)
{
    const struct metric_buckets *buckets = histogram->buckets;
    uint64_t counts[METRIC_BUCKETS_MAX + 1] = {0};
    uint64_t all = 0;
    double below = 0;

    for (int i = 0; i <= buckets->count; i++) {
        for (int label = 0; label < histogram->labels_count; label++)
            counts[i] += metric_bucket_count(histogram, label, i);
        all += counts[i];
    }
    if (all == 0)
        return 0;
    for (int i = 0; i < buckets->count; i++) {
        double lower = i == 0 ? 0 : buckets->upper[i - 1];

        if (counts[i] > 0 && below + (double)counts[i] >= q * (double)all)
            return lower +
                   (buckets->upper[i] - lower) * (q * (double)all - below) / (double)counts[i];
        below += (double)counts[i];
    }
    return buckets->upper[buckets->count - 1];
}

const struct metric *metric_first(void)
{
    return first;
}

void metric_refresh(void)
{
    for (int i = 0; i < refreshers_count; i++)
        refreshers[i]();
}

const struct metric *metric_find(const char *name)
{
    for (const struct metric *metric = first; metric != NULL; metric = metric->next)
        if (strcmp(metric->name, name) == 0)
            return metric;
    return NULL;
}

void metric_reset_all(void)
{
    for (struct metric *metric = first; metric != NULL; metric = metric->next)
        empty(metric);
}
