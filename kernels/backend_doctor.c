/* kernels/backend_doctor.c - asks as the roles do when they start. */
#include "kernels/backend_doctor.h"

#include "kernels/backend.h"

static enum status check_word(const struct config *config, struct error *err)
{
    (void)config;
    return backend_check_asked(err);
}

const struct config_rule backend_config_rules[] = {
    {.key = "FRESHET_BACKEND", .check = check_word},
    {.key = NULL},
};

static void check_backend(const struct config *config, struct doctor_finding *finding)
{
    const struct backend *backend;
    struct error err;

    (void)config;
    if (backend_choose(&backend, &err) != OK)
        doctor_fail(finding,
                    "unset FRESHET_BACKEND, or say cpu, where the CPU will do; "
                    "`freshet runbook gpu-failed`",
                    "%s: serve and retrain would end with exit code 3", err.text);
    else
        doctor_ok(finding, "scores and learns on %s: %s", backend->name, backend->why);
}

const struct doctor_check backend_doctor_checks[] = {
    {.name = "backend", .help = "which device scores and learns, and why", .run = check_backend},
    {.name = NULL},
};
