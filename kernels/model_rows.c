/* kernels/model_rows.c - the table. */
#include "kernels/model_rows.h"

#include "schemas/context.h"

#include <stdlib.h>
#include <string.h>

const struct config_row model_config_rows[] = {
    {.key = "model.preset",
     .type = CONFIG_CHOICE,
     .fallback = "small",
     .choices = "small|medium|large",
     .help = "Size of the model: small suits a CPU, large needs a GPU."},
    {.key = "model.attention",
     .type = CONFIG_CHOICE,
     .fallback = "silu",
     .choices = "silu|softmax",
     .help = "How a token weighs those before it: silu keeps how many there are, softmax divides "
             "by it. Changing it, as any row of this section but folder, starts a new model, and "
             "retraining gathers histories and lists anew."},
    {.key = "model.head",
     .type = CONFIG_CHOICE,
     .fallback = "cross",
     .choices = "cross|dot",
     .help = "How the network and the counts become one score: cross layers and an MLP over both, "
             "or a sum."},
    {.key = "model.position_bias",
     .type = CONFIG_BOOL,
     .fallback = "true",
     .help = "Attention knows how many events lie between two."},
    {.key = "model.time_bias",
     .type = CONFIG_BOOL,
     .fallback = "true",
     .help = "Attention knows how much time lies between two events."},
    {.key = "model.contexts",
     .type = CONFIG_TEXT,
     .fallback = "",
     .help =
         "Up to four members of a request's `context` that the network reads, as surface device; "
         "known of lists that come back with their trace. Such a model runs on the CPU. Empty: "
         "none."},
    {.key = "model.text",
     .type = CONFIG_CHOICE,
     .fallback = "0",
     .choices = "0|32|64|128|256",
     .help = "Width of the items' text vectors, of category and text in the items topic, that the "
             "network reads beside their ids; 0: none."},
    {.key = "model.folder",
     .type = CONFIG_TEXT,
     .fallback = "models",
     .help = "Folder of the model bundles and of `current`: retrain writes it, serve reads it."},
    {0},
};

struct model_switches model_rows_switches(const struct config *config)
{
    struct context_names names;
    struct error ignored;
    bool named = context_names_parse(&names, config_text(config, "model.contexts"), &ignored) == OK;
    bool softmax = strcmp(config_text(config, "model.attention"), "softmax") == 0;
    bool dot = strcmp(config_text(config, "model.head"), "dot") == 0;

    return (struct model_switches){
        .attention = softmax ? MODEL_ATTENTION_SOFTMAX : MODEL_ATTENTION_SILU,
        .head = dot ? MODEL_HEAD_DOT : MODEL_HEAD_CROSS,
        .without_position = !config_bool(config, "model.position_bias"),
        .without_time = !config_bool(config, "model.time_bias"),
        .contexts = named ? names.count : -1, /* which no model has */
        .context_names = names.print,
        .text = (int32_t)strtol(config_text(config, "model.text"), NULL, 10),
    };
}
