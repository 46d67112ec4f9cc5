/*
 * ops/demo_page.h - the demo's web page: numbers and a live feed on an admin port.
 * Thread: update from one thread; the page is served from the HTTP server's.
 */
#ifndef OPS_DEMO_PAGE_H
#define OPS_DEMO_PAGE_H

#include "ops/status.h"
#include "ops/text.h"

struct demo_page;
MUST_CHECK enum status demo_page_open(struct demo_page **page, const char *listen,
                                      struct error *err);
void demo_page_close(struct demo_page *page); /* NULL is fine */
int demo_page_port(const struct demo_page *page);
/* Copies both; what is longer than the page's buffers is not taken. */
void demo_page_update(struct demo_page *page, struct text status_json, struct text recent_json);

#endif
