/* Tests ops/vitals against what this process can know about itself. */
#include "ops/vitals.h"

#include "ops/metric.h"
#include "ops/version.h"
#include "tests/test.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char page[1 << 18];

TEST(vitals_are_read_when_the_page_is_rendered)
{
    const struct metric *files = metric_find("process_open_fds");
    const struct metric *resident = metric_find("process_resident_memory_bytes");
    char line[200];
    double before;
    int fd;

    vitals_watch();
    vitals_watch(); /* twice is once */
    CHECK(metric_render(page, sizeof page) < sizeof page);
    CHECK(files != NULL && resident != NULL);
    before = metric_value(files);
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK_NEAR(before, metric_value(files), 0);
    (void)metric_render(page, sizeof page);
    CHECK_NEAR(before + 1, metric_value(files), 0);
    CHECK_INT(0, close(fd));
    CHECK(metric_value(resident) > 1e6);
    (void)snprintf(line, sizeof line, "freshet_ops_build_info{version=\"%s\"} 1\n", version_text());
    CHECK(strstr(page, line) != NULL);
}

TEST(vitals_of_a_process_that_is_not_there_are_zero)
{
    CHECK(vitals_resident_bytes((int)getpid()) > 1000000);
    CHECK_INT(0, vitals_resident_bytes(0x7ffffffe));
}
