/* ops/json_node.c - reading what json_parse() made. */
#include "ops/json.h"

const struct json_node *json_member(const struct json_node *node, const char *key)
{
    const struct json_node *found = NULL;

    if (node == NULL || node->value.type != JSON_OBJECT)
        return NULL;
    for (const struct json_node *child = node->child; child != NULL; child = child->next)
        if (text_equal(child->key, text_of(key)))
            found = child;
    return found;
}

int64_t json_int_or(const struct json_node *node, int64_t otherwise)
{
    return node != NULL && node->value.type == JSON_INT ? node->value.integer : otherwise;
}

double json_real_or(const struct json_node *node, double otherwise)
{
    if (node == NULL || (node->value.type != JSON_INT && node->value.type != JSON_REAL))
        return otherwise;
    return node->value.real;
}

struct text json_text_or(const struct json_node *node, const char *otherwise)
{
    return node != NULL && node->value.type == JSON_TEXT ? node->value.text : text_of(otherwise);
}
