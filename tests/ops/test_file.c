/* Tests ops/file: limits, odd kinds of files, replacement that is all or nothing, lines. */
#include "ops/file.h"

#include "tests/test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

static const char *in_folder(const char *name)
{
    static char path[256];

    (void)snprintf(path, sizeof path, "%s/%s", test_folder(), name);
    return path;
}

static void write_file(const char *path, const void *from, size_t bytes)
{
    FILE *file = fopen(path, "wb");

    CHECK(file != NULL);
    CHECK_INT((int64_t)bytes, fwrite(from, 1, bytes, file));
    CHECK_INT(0, fclose(file));
}

TEST(file_read_gives_the_bytes_and_a_zero)
{
    char *got;
    size_t bytes;
    struct error err;

    CHECK_STATUS(ERR_NOT_FOUND, file_read(in_folder("none"), 10, &got, &bytes, &err));
    CHECK(got == NULL);
    write_file(in_folder("a"), "ab\0c", 4);
    CHECK_STATUS(OK, file_read(in_folder("a"), 4, &got, &bytes, &err));
    CHECK_INT(4, bytes);
    CHECK_INT(0, memcmp(got, "ab\0c", 5));
    free(got);
    CHECK_STATUS(ERR_LIMIT, file_read(in_folder("a"), 3, &got, &bytes, &err));
    CHECK(got == NULL);
    write_file(in_folder("a"), "", 0);
    CHECK_STATUS(OK, file_read(in_folder("a"), 0, &got, &bytes, &err));
    CHECK_INT(0, bytes);
    CHECK_TEXT("", got);
    free(got);
}

TEST(file_read_of_proc_which_claims_no_bytes_works_and_is_bounded)
{
    char *got;
    size_t bytes;
    struct error err;

    CHECK_STATUS(OK, file_read("/proc/self/status", 1 << 20, &got, &bytes, &err));
    CHECK(bytes > 100);
    free(got);
    CHECK_STATUS(ERR_LIMIT, file_read("/proc/self/status", 100, &got, &bytes, &err));
}

TEST(file_read_refuses_what_could_block_or_never_end)
{
    char *got;
    size_t bytes;
    struct error err;

    CHECK_INT(0, mkfifo(in_folder("fifo"), 0600));
    CHECK_STATUS(ERR_MALFORMED, file_read(in_folder("fifo"), 10, &got, &bytes, &err));
    CHECK_STATUS(ERR_MALFORMED, file_read("/dev/zero", 10, &got, &bytes, &err));
    CHECK_STATUS(ERR_MALFORMED, file_read(test_folder(), 10, &got, &bytes, &err));
    CHECK(strstr(err.text, test_folder()) != NULL);
}

TEST(file_replace_leaves_nothing_beside)
{
    char *got;
    size_t bytes;
    struct error err;

    CHECK_STATUS(OK, file_replace(in_folder("a"), "one", 3, &err));
    CHECK_STATUS(OK, file_replace(in_folder("a"), "second", 6, &err));
    CHECK_STATUS(OK, file_read(in_folder("a"), 100, &got, &bytes, &err));
    CHECK_TEXT("second", got);
    free(got);
    CHECK_INT(0, unlink(in_folder("a")));
    CHECK_INT(0, rmdir(test_folder())); /* only possible when it is empty */
    CHECK_INT(0, mkdir(test_folder(), 0700));
    CHECK_STATUS(ERR_IO, file_replace(in_folder("none/a"), "x", 1, &err));
}

/* In a child, because a limit on file sizes is of the whole process: the disk is full
 * half way through the write. */
TEST(file_replace_that_fails_keeps_the_old_file)
{
    char path[256];
    char *got;
    size_t bytes;
    struct error err;
    int state;
    pid_t child;

    (void)snprintf(path, sizeof path, "%s", in_folder("a"));
    CHECK_STATUS(OK, file_replace(path, "old", 3, &err));
    child = fork();
    if (child == 0) {
        static const char large[10000];
        const struct rlimit limit = {4096, 4096};

        (void)signal(SIGXFSZ, SIG_IGN);
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
            _exit(2);
        _exit(file_replace(path, large, sizeof large, &err) == ERR_IO ? 0 : 1);
    }
    CHECK_INT(child, waitpid(child, &state, 0));
    CHECK(WIFEXITED(state) && WEXITSTATUS(state) == 0);
    CHECK_STATUS(OK, file_read(path, 100, &got, &bytes, &err));
    CHECK_TEXT("old", got);
    free(got);
    CHECK_INT(0, unlink(path));
    CHECK_INT(0, rmdir(test_folder()));
    CHECK_INT(0, mkdir(test_folder(), 0700));
}

TEST(file_make_folders_makes_all_and_takes_what_is_there)
{
    struct error err;

    CHECK_STATUS(OK, file_make_folders(in_folder("a/b//c/"), &err));
    CHECK_STATUS(OK, file_make_folders(in_folder("a/b/c"), &err));
    CHECK_INT(0, access(in_folder("a/b/c"), F_OK));
    write_file(in_folder("file"), "", 0);
    CHECK_STATUS(ERR_IO, file_make_folders(in_folder("file"), &err));
    CHECK_STATUS(ERR_IO, file_make_folders(in_folder("file/a"), &err));
    CHECK_STATUS(ERR_IO, file_make_folders("", &err));
}

TEST(file_remove_tree_removes_links_but_not_what_they_name)
{
    char target[256];
    struct error err;

    (void)snprintf(target, sizeof target, "%s", in_folder("keep"));
    CHECK_STATUS(OK, file_make_folders(in_folder("keep"), &err));
    write_file(in_folder("keep/file"), "x", 1);
    CHECK_STATUS(OK, file_make_folders(in_folder("tree/a/b"), &err));
    write_file(in_folder("tree/a/file"), "x", 1);
    CHECK_INT(0, symlink(target, in_folder("tree/a/b/link")));
    CHECK_INT(0, symlink(target, in_folder("link")));
    CHECK_STATUS(OK, file_remove_tree(in_folder("tree"), &err));
    CHECK_STATUS(OK, file_remove_tree(in_folder("link"), &err));
    CHECK(access(in_folder("tree"), F_OK) != 0);
    CHECK_INT(0, access(in_folder("keep/file"), F_OK));
    CHECK_STATUS(OK, file_remove_tree(in_folder("keep"), &err));
    CHECK_STATUS(OK, file_remove_tree(in_folder("missing"), &err));
}

/* FAULTS 61: the second instance learns who holds the folder. */
TEST(file_lock_folder_names_the_process_that_holds_it)
{
    struct error err;
    char pid[32];
    int first, second;

    CHECK_STATUS(OK, file_lock_folder(test_folder(), &first, &err));
    CHECK_STATUS(ERR_IN_USE, file_lock_folder(test_folder(), &second, &err));
    (void)snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    CHECK(strstr(err.text, pid) != NULL);
    CHECK_INT(-1, second);
    CHECK_INT(0, close(first));
    CHECK_STATUS(OK, file_lock_folder(test_folder(), &second, &err));
    CHECK_INT(0, close(second));
    CHECK_STATUS(ERR_IO, file_lock_folder(in_folder("none"), &second, &err));
}

static void check_lines(const char *path, const char *const *want, int count)
{
    struct file_lines *lines;
    struct text line;
    struct error err;

    CHECK_STATUS(OK, file_lines_open(&lines, path, 10, &err));
    for (int i = 0; i < count; i++) {
        enum status status = file_lines_next(lines, &line, &err);

        CHECK_STATUS(want[i] == NULL ? ERR_LIMIT : OK, status);
        CHECK_INT(i + 1, file_lines_number(lines));
        if (want[i] != NULL)
            CHECK(text_equal(text_of(want[i]), line));
    }
    for (int i = 0; i < 2; i++) {
        CHECK_STATUS(OK, file_lines_next(lines, &line, &err));
        CHECK(line.at == NULL);
        CHECK_NEAR(1.0, file_lines_fraction(lines), 0);
    }
    file_lines_close(lines);
}

static const char text_of_lines[] = "one\n\ntwo\r\n0123456789\n0123456789A\nlast";
static const char *const lines_want[] = {"one", "", "two", "0123456789", NULL, "last"};

TEST(file_lines_reads_plain_text)
{
    write_file(in_folder("plain"), text_of_lines, sizeof text_of_lines - 1);
    check_lines(in_folder("plain"), lines_want, 6);
    write_file(in_folder("plain"), "", 0);
    check_lines(in_folder("plain"), NULL, 0);
    write_file(in_folder("plain"), "\n", 1);
    check_lines(in_folder("plain"), (const char *const[]){""}, 1);
}

static void write_gzip(const char *path, const void *from, unsigned bytes)
{
    gzFile file = gzopen(path, "wb");

    CHECK(file != NULL);
    CHECK_INT(bytes, gzwrite(file, from, bytes));
    CHECK_INT(Z_OK, gzclose(file));
}

TEST(file_lines_reads_gzip_and_sees_every_truncation)
{
    char path[256], cut_path[256];
    char *packed;
    size_t bytes;
    struct error err;

    (void)snprintf(path, sizeof path, "%s", in_folder("packed"));
    (void)snprintf(cut_path, sizeof cut_path, "%s", in_folder("cut"));
    write_gzip(path, text_of_lines, sizeof text_of_lines - 1);
    check_lines(path, lines_want, 6);
    CHECK_STATUS(OK, file_read(path, 1 << 20, &packed, &bytes, &err));
    /* Below three bytes it is a plain file of odd characters, which is what it is. */
    for (size_t cut = 3; cut < bytes; cut++) {
        struct file_lines *lines;
        struct text line;
        enum status status;

        write_file(cut_path, packed, cut);
        CHECK_STATUS(OK, file_lines_open(&lines, cut_path, 10, &err));
        do {
            status = file_lines_next(lines, &line, &err);
        } while (status == ERR_LIMIT || (status == OK && line.at != NULL));
        CHECK_STATUS(ERR_CORRUPT, status);
        file_lines_close(lines);
    }
    free(packed);
}

/* Lines that lie across the buffer's refills, one after another of every length. */
TEST(file_lines_joins_what_lies_across_chunks)
{
    enum { LINES = 6000, LONGEST = 997 };
    struct file_lines *lines;
    struct text line;
    struct error err;
    FILE *file = fopen(in_folder("many"), "wb");

    CHECK(file != NULL);
    for (int i = 0; i < LINES; i++)
        (void)fprintf(file, "%0*d\n", i % LONGEST + 1, i);
    CHECK_INT(0, fclose(file));
    CHECK_STATUS(OK, file_lines_open(&lines, in_folder("many"), LONGEST + 8, &err));
    for (int i = 0; i < LINES; i++) {
        char want[LONGEST + 16];
        double fraction = file_lines_fraction(lines);

        (void)snprintf(want, sizeof want, "%0*d", i % LONGEST + 1, i);
        CHECK_STATUS(OK, file_lines_next(lines, &line, &err));
        CHECK(text_equal(text_of(want), line));
        CHECK(fraction >= 0.0 && fraction <= 1.0);
    }
    CHECK_STATUS(OK, file_lines_next(lines, &line, &err));
    CHECK(line.at == NULL);
    file_lines_close(lines);
}

TEST(file_lines_open_refuses_folders_and_missing_files)
{
    struct file_lines *lines;
    struct error err;

    CHECK_STATUS(ERR_NOT_FOUND, file_lines_open(&lines, in_folder("none"), 10, &err));
    CHECK_STATUS(ERR_MALFORMED, file_lines_open(&lines, test_folder(), 10, &err));
    CHECK(lines == NULL);
    file_lines_close(NULL);
}
