/* features/features_config.c - the rows; the defaults of the first four are those of rules_init. */
#include "features/features_config.h"

#include "schemas/user_value.h"

const struct config_row features_config_rows[] = {
    {"features.sequence_max", CONFIG_INT, "100", 1, SEQUENCE_MAX, NULL,
     "events of a user that are kept, newest first; fixed when the data set is created"},
    {"features.joins_max", CONFIG_INT, "4", 0, JOINS_MAX, NULL,
     "shown lists of a user that may still get labels; fixed when the data set is created"},
    {"features.join_window", CONFIG_DURATION, "30m", 0, 7 * 86400e3, NULL,
     "how long after a list was shown a label may still belong to it; fixed when the data set is "
     "created"},
    {"features.late_max", CONFIG_DURATION, "7d", 0, 365 * 86400e3, NULL,
     "an event that is older than its partition's newest by more than this is dropped; fixed when "
     "the data set is created"},
    {"features.ttl", CONFIG_DURATION, "30d", 60e3, 3650 * 86400e3, NULL,
     "how long a user's state is kept after the last event; at least 8/7 of retention, "
     "segment.ms and join window together, so that nothing can be read again after it"},
    {0},
};
