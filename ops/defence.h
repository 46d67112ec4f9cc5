/*
 * ops/defence.h - code that a test must miss when it is gone.
 *
 *     if (DEFENCE(OVERSIZE) && bytes > limit)
 *
 * is what it says; built with -DWITHOUT_OVERSIZE, as `make mutants` does, the condition is false.
 * Each name stands in tests/faults/rows.txt, or in machine/defences.h, with the test that then
 * fails: a defence that nothing misses is none, or its test is blind. Names are in capitals and
 * unique in the tree. It is a constant: use it in `if`, never in `#if`.
 */
#ifndef OPS_DEFENCE_H
#define OPS_DEFENCE_H

/* 1, and 0 where WITHOUT_<name> is defined: a 1 pasted to the prefix becomes a comma, which moves
 * the 0 into second place. */
#define DEFENCE(name)                       DEFENCE_VALUE_(WITHOUT_##name)
#define DEFENCE_VALUE_(value)               DEFENCE_PASTE_(value)
#define DEFENCE_PASTE_(value)               DEFENCE_PICK_(DEFENCE_GONE_##value)
#define DEFENCE_PICK_(comma)                DEFENCE_SECOND_(comma 0, 1, 0)
#define DEFENCE_SECOND_(first, second, ...) second
#define DEFENCE_GONE_1                      ,

#endif
