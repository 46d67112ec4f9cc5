/*
 * kernels/model_rows.h - the `model` section of the configuration: what serve and retrain share.
 */
#ifndef KERNELS_MODEL_ROWS_H
#define KERNELS_MODEL_ROWS_H

#include "kernels/model.h"
#include "ops/config.h"

/* model.preset, model.folder, the switches; ends with a NULL key. */
extern const struct config_row model_config_rows[];

/* Of a checked configuration. */
struct model_switches model_rows_switches(const struct config *config);

#endif
