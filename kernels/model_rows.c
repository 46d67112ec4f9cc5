/* kernels/model_rows.c - the table. */
#include "kernels/model_rows.h"

const struct config_row model_config_rows[] = {
    {.key = "model.preset",
     .type = CONFIG_CHOICE,
     .fallback = "small",
     .choices = "small|medium|large",
     .help = "Size of the model: small suits a CPU, large needs a GPU."},
    {.key = "model.folder",
     .type = CONFIG_TEXT,
     .fallback = "models",
     .help = "Folder of the model bundles and of `current`: retrain writes it, serve reads it."},
    {0},
};
