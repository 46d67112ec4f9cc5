#!/usr/bin/env python3
"""Writes `user item` lines in the order of time, shaped like MovieLens-1M: 6,040 users of 20 and
more choices (mean 165), 3,416 items of a heavy-tailed popularity, nothing chosen twice, and an order
that says something: an item has successors, a user has moods.

    make_interactions.py [USERS [ITEMS [EVENTS [SEED]]]] > file
"""
import bisect
import math
import random
import sys

GENRES = 18
SUCCESSORS = 12
FOLLOW, MOOD = .35, .45


def lengths(rng, users, events):
    """Heavy-tailed, at least 20 each, about `events` together."""
    raw = [math.exp(rng.gauss(0, 1.1)) for _ in range(users)]
    scale = max(1.0, (events - 20 * users) / sum(raw))
    return [20 + int(scale * x) for x in raw]


def cumulated(weights):
    total, sums = 0.0, []
    for w in weights:
        total += w
        sums.append(total)
    return sums


def draw(rng, sums):
    return bisect.bisect_left(sums, rng.random() * sums[-1])


def main():
    numbers = [int(x) for x in sys.argv[1:]] + [6040, 3416, 1000000, 1][len(sys.argv) - 1:]
    users, items, events, seed = numbers
    rng = random.Random(seed)
    weight = [1 / (rank + 30) ** 1.1 for rank in range(items)]
    rng.shuffle(weight)
    genre = [rng.randrange(GENRES) for _ in range(items)]
    shelves = [[i for i in range(items) if genre[i] == g] for g in range(GENRES)]
    shelf_sums = [cumulated([weight[i] for i in shelf]) for shelf in shelves]
    all_sums = cumulated(weight)
    after = [[shelves[genre[i]][draw(rng, shelf_sums[genre[i]])] for _ in range(SUCCESSORS)]
             for i in range(items)]
    rows = []
    for user, length in enumerate(lengths(rng, users, events)):
        taste = cumulated([rng.gammavariate(.4, 1) + 1e-6 for _ in range(GENRES)])
        begun, span = rng.random(), rng.expovariate(1) * .1
        seen, last, mood = set(), None, draw(rng, taste)
        at = begun
        for _ in range(min(length, items // 2)):
            for _ in range(50):
                kind = rng.random()
                if rng.random() < .08:
                    mood = draw(rng, taste)
                if last is not None and kind < FOLLOW:
                    item = after[last][min(int(rng.expovariate(.5)), SUCCESSORS - 1)]
                elif kind < FOLLOW + MOOD and shelves[mood]:
                    item = shelves[mood][draw(rng, shelf_sums[mood])]
                else:
                    item = draw(rng, all_sums)
                if item not in seen:
                    break
            else:
                continue
            seen.add(item)
            at += span * rng.expovariate(1) / length
            rows.append((at, user, item))
            last = item
    rows.sort()
    sys.stdout.writelines("%d %d\n" % (user + 1, item + 1) for _, user, item in rows)


main()
