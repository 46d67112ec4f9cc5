/* kernels/backend.c - the choice between CPU and GPU, made once and kept with its reason. */
#include "kernels/backend.h"

#if defined(FRESHET_CUDA)
#include "kernels/cuda/forward.h"
#endif

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct backend chosen = {.name = "cpu"};
static struct error refused; /* OK: nothing was */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void try_cuda(bool demanded)
{
    struct error why = {0};
#if defined(FRESHET_CUDA)
    enum status status = cuda_backend_open(&chosen, &why);
#else
    enum status status = error_set(&why, ERR_DEVICE, "this program was built without nvcc");
#endif

    if (status == OK)
        return;
    (void)snprintf(chosen.why, sizeof chosen.why, "no GPU: %.200s", why.text);
    if (demanded)
        (void)error_set(&refused, ERR_DEVICE, "FRESHET_BACKEND=cuda, but %.200s", why.text);
}

static bool asks_for(const char *name)
{
    const char *asked = getenv("FRESHET_BACKEND");

    return strcmp(asked == NULL ? "" : asked, name) == 0;
}

static void choose(void)
{
    if (backend_check_asked(&refused) != OK)
        return;
    if (asks_for("cpu"))
        (void)snprintf(chosen.why, sizeof chosen.why, "FRESHET_BACKEND=cpu");
    else
        try_cuda(asks_for("cuda"));
}

enum status backend_works(const struct backend *backend, struct error *err)
{
    return backend->works == NULL ? OK : backend->works(err);
}

enum status backend_check_asked(struct error *err)
{
    if (asks_for("") || asks_for("cpu") || asks_for("cuda"))
        return OK;
    return error_set(err, ERR_DEVICE, "FRESHET_BACKEND is \"%.40s\", must be cpu or cuda",
                     getenv("FRESHET_BACKEND"));
}

enum status backend_choose(const struct backend **backend, struct error *err)
{
    (void)pthread_once(&once, choose);
    *backend = &chosen;
    if (refused.status == OK)
        return OK;
    *err = refused;
    return refused.status;
}
