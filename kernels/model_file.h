/*
 * kernels/model_file.h - a model as files of a bundle: weights.safetensors, and its shape in the
 * manifest.
 *
 * Flow: train -> [save] -> bundle -> [load] -> scorer, champion of the next round
 *
 * The one way from a bundle to a model, so that the trainer judges a champion with the very weights
 * that the scorer serves. Names of scalars are compared by the caller (features/scalars.h).
 */
#ifndef KERNELS_MODEL_FILE_H
#define KERNELS_MODEL_FILE_H

#include "kernels/model.h"
#include "schemas/bundle.h"

#define MODEL_FILE_NAME "weights.safetensors"

/* Writes every tensor of the model to path. Errors: ERR_IO, ERR_LIMIT (too many tensors). */
MUST_CHECK enum status model_file_save(struct model *model, const char *path, struct error *err);

/* Puts the model's shape and preset into the manifest. */
void model_file_describe(const struct model *model, const char *preset, struct manifest *manifest);

/* Does this bundle hold a model, or item tables alone? */
bool model_file_present(const struct manifest *manifest);

/**
 * Creates the model the manifest describes and fills it from path; ready to score.
 *
 * Errors: ERR_MALFORMED a shape that lacks a dimension, a tensor that does not fit the shape, is
 *         missing or is not part of the model; ERR_LIMIT, ERR_IO, ERR_NOT_FOUND, ERR_NOMEM.
 * Owner: the caller, until model_destroy().
 */
MUST_CHECK enum status model_file_load(struct model **model, const char *path,
                                       const struct manifest *manifest, struct error *err);

#endif
