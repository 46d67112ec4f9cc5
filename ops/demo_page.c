/* ops/demo_page.c - three routes beside the admin's own; the page itself is ops/demo_page.html,
 * put into the program by the assembler. */
#include "ops/demo_page.h"

#include "ops/admin.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX (256 * 1024)

__asm__(".pushsection .rodata\n"
        ".global demo_page_html\n"
        "demo_page_html:\n"
        ".incbin \"ops/demo_page.html\"\n"
        ".byte 0\n"
        ".popsection\n");
extern const char demo_page_html[];

struct shown {
    size_t bytes;
    char at[TEXT_MAX];
};

struct demo_page {
    struct admin *admin;
    pthread_mutex_t lock; /* guards both texts */
    struct shown status;
    struct shown recent;
};

static void handle_page(struct http_request *request, void *context)
{
    (void)context;
    http_answer(request, 200, "text/html; charset=utf-8", text_of(demo_page_html), NULL);
}

static void answer(struct demo_page *page, struct http_request *request, const struct shown *shown,
                   const char *when_empty)
{
    (void)pthread_mutex_lock(&page->lock);
    http_answer(request, 200, "application/json",
                shown->bytes == 0 ? text_of(when_empty) : (struct text){shown->at, shown->bytes},
                "Cache-Control: no-store\n");
    (void)pthread_mutex_unlock(&page->lock);
}

static void handle_status(struct http_request *request, void *context)
{
    struct demo_page *page = context;

    answer(page, request, &page->status, "{}");
}

static void handle_recent(struct http_request *request, void *context)
{
    struct demo_page *page = context;

    answer(page, request, &page->recent, "[]");
}

static const struct http_route routes[] = {
    {"GET", "/", handle_page},
    {"GET", "/status.json", handle_status},
    {"GET", "/recent", handle_recent},
    {0},
};

enum status demo_page_open(struct demo_page **page, const char *listen, struct error *err)
{
    struct demo_page *made = calloc(1, sizeof *made);
    enum status status;

    *page = NULL;
    if (made == NULL)
        return error_set(err, ERR_NOMEM, "no memory for the demo's page");
    (void)pthread_mutex_init(&made->lock, NULL);
    status = admin_open(&made->admin, "demo", listen, routes, made, err);
    if (status != OK) {
        demo_page_close(made);
        return status;
    }
    admin_set_ready(made->admin, true, "");
    *page = made;
    return OK;
}

void demo_page_close(struct demo_page *page)
{
    if (page == NULL)
        return;
    admin_close(page->admin);
    (void)pthread_mutex_destroy(&page->lock);
    free(page);
}

int demo_page_port(const struct demo_page *page)
{
    return admin_port(page->admin);
}

static void set(struct shown *shown, struct text from)
{
    if (from.bytes > TEXT_MAX)
        return;
    memcpy(shown->at, from.at, from.bytes);
    shown->bytes = from.bytes;
}

void demo_page_update(struct demo_page *page, struct text status_json, struct text recent_json)
{
    (void)pthread_mutex_lock(&page->lock);
    set(&page->status, status_json);
    set(&page->recent, recent_json);
    (void)pthread_mutex_unlock(&page->lock);
}
