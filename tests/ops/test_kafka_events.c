/*
 * Tests ops/kafka_events: nothing is lost, doubled or put out of order, however events come and go.
 */
#include "ops/kafka_events.h"

#include "tests/test.h"

#include <string.h>

TEST(kafka_events_come_out_in_order_however_many_were_put)
{
    struct kafka_event taken[KAFKA_EVENTS_MAX];
    struct kafka_events events = {0};
    int put = 0, got = 0;

    CHECK_INT(0, kafka_events_take(&events, taken));
    for (int more = 3 * KAFKA_EVENTS_MAX + 1; more >= 0; more -= 7) { /* put in heaps, ever fewer */
        for (int i = 0; i < more; i++, put++)
            kafka_events_put(&events, KAFKA_ASSIGNED, put, (int64_t)put << 32, "x");
        int left = put - got;
        int count = kafka_events_take(&events, taken);
        CHECK_INT(left < KAFKA_EVENTS_MAX ? left : KAFKA_EVENTS_MAX, count);
        for (int i = 0; i < count; i++, got++) {
            CHECK_INT(got, taken[i].partition);
            CHECK(taken[i].offset == (int64_t)got << 32);
        }
    }
    for (int count; (count = kafka_events_take(&events, taken)) > 0;)
        for (int i = 0; i < count; i++, got++)
            CHECK_INT(got, taken[i].partition);
    CHECK_INT(put, got);
    kafka_events_clear(&events);
    kafka_events_clear(&events);
}

TEST(kafka_events_cut_a_text_that_has_no_room)
{
    struct kafka_event taken[KAFKA_EVENTS_MAX];
    struct kafka_events events = {0};
    char text[2 * sizeof taken->text];

    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    kafka_events_put(&events, KAFKA_FATAL, -1, KAFKA_OFFSET_NONE, text);
    kafka_events_put(&events, KAFKA_DOWN, -1, KAFKA_OFFSET_NONE, "");
    CHECK_INT(2, kafka_events_take(&events, taken));
    CHECK_INT(KAFKA_FATAL, taken[0].kind);
    CHECK_INT(sizeof taken->text - 1, strlen(taken[0].text));
    CHECK_TEXT("", taken[1].text);
    kafka_events_clear(&events);
}
