/*
 * features/robot.h - who chooses faster than anybody's hand does?
 *
 * Flow: a user's history before a choice -> [robot_chose] -> counts of the item tables, or not
 *
 * What a robot chooses is part of its history, and teaches nothing. The trainer masks it, and
 * whoever checks the trainer (`freshet verify`) must mask the same. Pure.
 */
#ifndef FEATURES_ROBOT_H
#define FEATURES_ROBOT_H

#include "schemas/user_value.h"

#include <stdbool.h>

#define ROBOT_WINDOW_MS 60000

/**
 * More choices than anybody makes: choices_max of them within window_ms before this one (0: no
 * limit). Judged by the entries before it alone, so that the order in which events come, a restart
 * and a replay change nothing. What shares its time came at once, as an invoice or an import does,
 * and says nothing of a hand's speed.
 */
bool robot_chose(const struct user_entry *before, int count, int64_t time_ms, int choices_max,
                 int64_t window_ms);

#endif
