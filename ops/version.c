/*
 * ops/version.c - the build's own account of itself. The Makefile gives FRESHET_VERSION and
 * FRESHET_LIBRARIES ("name number,name number,") to this file alone.
 */
#include "ops/version.h"

#include <stdio.h>
#include <string.h>

#ifndef FRESHET_VERSION
#define FRESHET_VERSION "unknown"
#endif
#ifndef FRESHET_LIBRARIES
#define FRESHET_LIBRARIES ""
#endif

#define LIBRARIES_MAX 32

const char *version_text(void)
{
    return FRESHET_VERSION;
}

const char *version_compiler(void)
{
#ifdef __clang__
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}

const char *version_library(int index, const char **number)
{
    static char names[LIBRARIES_MAX][32], numbers[LIBRARIES_MAX][32];
    const char *at = FRESHET_LIBRARIES;

    *number = NULL;
    for (int i = 0; i < LIBRARIES_MAX && *at != 0; i++) {
        if (sscanf(at, "%31[^ ,] %31[^,]", names[i], numbers[i]) != 2)
            break;
        if (i == index) {
            *number = numbers[i];
            return names[i];
        }
        at += strcspn(at, ",");
        at += *at == ',';
    }
    return NULL;
}
