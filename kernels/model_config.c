/* kernels/model_config.c - presets, and the parts that may be switched. */
#include "kernels/model.h"

#include <string.h>

bool model_preset(struct model_config *config, const char *name, int32_t V, int32_t F)
{
    static const struct {
        const char *name;
        int32_t C, L, H, P;
    } presets[] = {
        {"small", 64, 2, 2, 128}, {"medium", 128, 4, 4, 256}, {"large", 512, 8, 8, 2048}};

    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        if (strcmp(presets[i].name, name) != 0)
            continue;
        *config = (struct model_config){.C = presets[i].C,
                                        .L = presets[i].L,
                                        .H = presets[i].H,
                                        .P = presets[i].P,
                                        .V = V,
                                        .A = 32,
                                        .F = F,
                                        .R = 16,
                                        .W = 64,
                                        .crosses = 2,
                                        .attention = MODEL_ATTENTION_SILU,
                                        .head = MODEL_HEAD_CROSS,
                                        .tau = .05f};
        return true;
    }
    return false;
}

void model_switch(struct model_config *config, const struct model_switches *switches)
{
    config->attention = switches->attention;
    config->head = switches->head;
    config->without_position = switches->without_position;
    config->without_time = switches->without_time;
    config->contexts = switches->contexts;
    config->text = switches->text;
    config->context_names = switches->context_names;
}

struct model_switches model_switches_of(const struct model_config *config)
{
    return (struct model_switches){.attention = config->attention,
                                   .head = config->head,
                                   .without_position = config->without_position,
                                   .without_time = config->without_time,
                                   .contexts = config->contexts,
                                   .text = config->text,
                                   .context_names = config->context_names};
}

bool model_switches_equal(const struct model_switches *a, const struct model_switches *b)
{
    return a->attention == b->attention && a->head == b->head &&
           a->without_position == b->without_position && a->without_time == b->without_time &&
           a->contexts == b->contexts && a->text == b->text && a->context_names == b->context_names;
}
