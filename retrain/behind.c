/* retrain/behind.c - marks that were not reached in time. */
#include "retrain/behind.h"

void behind_init(struct behind *b, int64_t now_us)
{
    *b = (struct behind){.marked_us = now_us};
}

enum behind_news behind_look(struct behind *b, bool reached, int64_t records, int64_t now_us,
                             bool *mark)
{
    bool in_time = now_us - b->marked_us < BEHIND_US;
    enum behind_news news = BEHIND_NOTHING;

    *mark = reached;
    if (b->since_us == 0 && !reached && !in_time) {
        b->since_us = b->marked_us;
        news = BEHIND_BEGAN;
    } else if (b->since_us != 0 && reached && (in_time || records == 0)) {
        b->since_us = 0;
        b->warned = false;
        news = BEHIND_OVER;
    } else if (b->since_us != 0 && !b->warned && now_us - b->since_us >= BEHIND_STAYS_US) {
        b->warned = true;
        news = BEHIND_STAYS;
    }
    if (reached)
        b->marked_us = now_us;
    return news;
}

double behind_seconds(const struct behind *b, int64_t now_us)
{
    return b->since_us == 0 ? 0 : (double)(now_us - b->since_us) / 1e6;
}
