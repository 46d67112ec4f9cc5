/* features/features_config.h - the section `features` of the configuration. */
#ifndef FEATURES_FEATURES_CONFIG_H
#define FEATURES_FEATURES_CONFIG_H

#include "ops/config.h"

/* sequence_max, joins_max, join_window, late_max (rules_from_config) and ttl. */
extern const struct config_row features_config_rows[];

#endif
