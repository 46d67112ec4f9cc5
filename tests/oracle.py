#!/usr/bin/env python3
"""Another judge: sets and dicts over what `freshet verify --dump FOLDER` wrote, no code shared with freshet.
Works users, counts, examples and items out of topic.jsonl by the documented rules, prints the first differences
to what is stored, ends with 1 when there are any. Less of users of several partitions or with ties at the cut."""
import collections, json, math, sys
def text(value, most):
    value = str(value) if type(value) is int and -2**63 <= value < 2**63 else value  # 5 is "5"
    assert isinstance(value, str) and 1 <= len(value.encode()) <= most and "\0" not in value
    return value
def depth(x):
    return 1 + max(map(depth, x.values() if isinstance(x, dict) else x), default=0) if isinstance(x, (dict, list)) else 0
def decode(record, rules):
    """The event of a record; None: a dead letter."""
    try:
        real = lambda n: float(n) if math.isfinite(float(n)) else int(n)  # which refuses it
        event = json.loads(bytes.fromhex(record["value"]).decode(), parse_constant=int, parse_float=real)
        user, kind, time, rows = text(event["user"], 128), event["type"], event["ts"], event.get("items")
        assert depth(event) <= 16 and user.encode().hex() == record["key"] and type(time) in (int, float) and time == int(time)
        assert 946684800000 <= time <= record["ts"] + rules["max_future_skew_ms"]
        nameless = kind == "erase" or event.get("request_id") in (None, "")
        out = {"user": user, "time": int(time), "kind": kind, "request": None if nameless else text(event["request_id"], 128)}
        if kind == "impression":
            rows = [event["item"]] if rows is None else rows
            out["rows"] = tuple(text(row, 256) for row in rows)
            assert isinstance(rows, list) and 1 <= len(rows) <= 512 and isinstance(event.get("trace") or "", str)
        return out if kind in ("erase", "impression") else dict(out, item=text(event["item"], 256), action=rules["actions"][kind])
    except (AssertionError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return None
class User:
    def __init__(self, rules):
        self.rules, self.entries, self.taken, self.opens, self.erased, self.running = rules, set(), set(), [], 0, 0
        self.partitions, self.records, self.lists, self.tied = set(), 0, collections.deque(maxlen=4), False
        self.parts, self.labels = set(), {a["code"] for a in rules["actions"].values() if a["label"]}  # parts: what was emitted
    def near(self, shown, time):
        return 0 <= time - shown["at"] <= self.rules["join_window_ms"]
    def keep(self, shown):
        others = [o for o in self.opens if o is not shown]
        self.opens = sorted(others + [shown], key=lambda o: o["at"])[-self.rules["joins_max"]:]
    def give(self, shown, label):
        self.parts.add((shown["at"], shown["rows"], "label", (shown["rows"].index(label[0]), label[2]), ()))
        if not any((item, action) == (label[0], label[2]) for item, _, action in shown["labels"]):
            shown["labels"].add(label)
    def erase(self, time):
        self.erased, self.lists = max(self.erased, time), collections.deque(maxlen=4)
        self.parts.add((time, (), "erase", None, ()))
        self.entries = {e for e in self.entries if e[0] > self.erased}
        for stub in (o for o in self.opens if not o["rows"]):
            stub["labels"] = {label for label in stub["labels"] if label[1] > self.erased}
            stub["at"] = min((label[1] for label in stub["labels"]), default=0)
        self.opens = sorted((o for o in self.opens if o["at"] > self.erased), key=lambda o: o["at"])
        return "applied"
    def shown(self, event):
        request, rows, at, early = event["request"], event["rows"], event["time"], []
        new = {"request": request, "at": at, "rows": rows, "labels": set()}
        if any(o["rows"] and (o["request"] == request if request else (o["at"], o["rows"]) == (at, rows)) for o in self.opens):
            return "duplicate"
        for stub in [o for o in self.opens if request and o["request"] == request]:
            self.opens.remove(stub)
            early = [l for l in sorted(stub["labels"], key=lambda l: l[1]) if self.near(new, l[1]) and l[0] in rows]
        found = {e for e in self.entries - self.taken if self.near(new, e[0]) and e[1] in rows and e[2] in self.labels}
        self.taken |= found
        early += [(item, time, action) for time, item, action in sorted(found)]
        before = sorted(e for e in self.entries if e[0] <= at and (e[1], e[0], e[2]) not in early)
        self.parts.add((at, rows, "shown", self.running - len(self.entries) + len(before), tuple(before)))
        for label in early:
            self.give(new, label)
        self.keep(new)
        return "applied"
    def act(self, event, replayed):
        entry, what = (event["time"], event["item"], event["action"]["code"]), "applied"
        if event["action"]["history"]:
            if entry in self.entries:
                return "duplicate"
            order = sorted(self.entries | {entry})
            kept = set(order[-self.rules["sequence_max"]:])
            self.tied |= len(order) > len(kept) and order[0][0] == order[1][0]  # hashes decide which of them goes
            what = "applied" if entry in kept else "late"
            self.running, self.entries = self.running + (entry in kept), kept
        if event["action"]["label"] and (replayed or self.label(event["request"], (entry[1], entry[0], entry[2]))):
            self.taken.add(entry)
        return what
    def label(self, request, label):
        named = [o for o in self.opens if request and o["request"] == request]
        if request and not (named and named[0]["rows"]):  # its list has not been seen
            stub = named[0] if named else {"request": request, "rows": (), "labels": set()}
            stub["labels"].add(label)
            stub["at"] = min(time for _, time, _ in stub["labels"])
            self.keep(stub)
            return True
        of = [o for o in named or self.opens if self.near(o, label[1]) and label[0] in o["rows"]]
        if of:
            self.give(of[-1], label)
        return bool(of or named)
    def masked(self, time, item, code):
        """Is a choice that entered beyond what a user may weigh? None: hashes of one time decide."""
        most, day, before = self.rules["robots"], time // 86400000, sorted(e[0] for e in self.entries if e[0] < time)
        others = [e for e in self.entries if e[0] == time and e[1:] != (item, code)]
        def moments(times, last):
            """Of the last so many: runs of steps of a millisecond at most; past 64 ms each has its own."""
            news, begin = [], 0
            for i, t in enumerate(times):
                step = i == 0 or t - times[i - 1] > 1
                begin = t if step else begin
                news.append(step or t - begin >= 64)
            return 1 + sum(news[len(news) - last + 1:])
        fast = lambda times: 0 < most["minute_max"] <= len(times) and time - times[-most["minute_max"]] < 60000 and (
            2 * moments(times, most["minute_max"]) > most["minute_max"])
        same = lambda all_of: 0 < most["item_max"] <= sum(e[1:] == (item, code) and e[0] // 86400000 == day for e in all_of)
        often = lambda times: 0 < most["day_max"] <= moments(times + [time], 1 + sum(t // 86400000 == day for t in times)) - 1
        past = [e for e in self.entries if e[0] < time]
        least, best = ((lambda times: fast(times) or same(past + more) or often(times))(before + [e[0] for e in more])
                       for more in ([], others))
        return least if least == best else None
    def apply(self, event, record, mark):
        self.partitions, self.records = self.partitions | {record["p"]}, self.records + 1
        if event["kind"] == "erase" or event["time"] <= self.erased:
            return self.erase(event["time"]) if event["kind"] == "erase" else "erased"
        if event["kind"] == "impression" if record["replayed"] else mark - event["time"] > self.rules["late_max_ms"]:
            return "dropped"
        return self.shown(event) if event["kind"] == "impression" else self.act(event, record["replayed"])
def replay(topic, rules, ranges):
    """Users, counts of outcomes, counts of items, and items not to be judged, of the records in these ranges."""
    users, counts, items, marks, unsure = {}, collections.Counter(), collections.Counter(), {}, set()
    for record in (r for r in topic if r["o"] in range(*ranges.get(str(r["p"]), [0]))):
        event, p, what = decode(record, rules), record["p"], "dead"
        mark = marks.get(p, -10**18)
        if event is not None:
            user, key = users.setdefault(event["user"], User(rules)), event["request"] or (event["time"], event.get("rows"))
            what, again = user.apply(event, record, mark), record["replayed"]
            marks[p] = max(mark, min(event["time"], record["ts"] + rules["max_future_skew_ms"]))
            if "rows" in event and (what in ("applied", "duplicate") or what == "dropped" and again) and key not in user.lists:
                user.lists.append(key)
                items.update((row, "shown") for row in event["rows"])
            elif what == "applied" and "action" in event and event["action"]["history"]:
                masked = user.masked(event["time"], event["item"], event["action"]["code"])
                unsure |= {event["item"]} if masked is None else set()
                items[event["item"], "clicks"] += not event["action"]["negative"] and not masked
        counts[p, what] += 1
    return users, counts, items, unsure
def main(folder):
    lists_of = lambda opens, at: [[o["request"], o[at], list(o["rows"]), sorted(map(list, o["labels"]))] for o in opens]
    read = lambda name: map(json.loads, open(f"{folder}/{name}.jsonl", encoding="utf-8"))
    rules = json.load(open(folder + "/settings.json", encoding="utf-8"))
    users, counts, _, _ = replay(read("topic"), rules, {p: [0, stored["next"]] for p, stored in rules["partitions"].items()})
    mixed, there = {n for n, u in users.items() if len(u.partitions) > 1 or u.tied}, collections.defaultdict(set)
    wrong = [f"partition {p}: {o} is {n}, oracle {counts[int(p), o]}" for p, stored in rules["partitions"].items()
             for o, n in stored.items() if o != "next" and abs(n - counts[int(p), o]) > sum(users[u].records for u in mixed)]
    redis = {u["user"]: [u["erased_at"], {(t, i, a) for i, t, a in u["entries"]}, u["running"], lists_of(u["opens"], "shown_at")]
             for u in read("users")}
    ours, blank = {n: [u.erased, u.entries, u.running, lists_of(u.opens, "at")] for n, u in users.items()}, [0, set(), 0, []]
    for name in sorted(redis.keys() | ours.keys()):  # a user with nothing to keep has no value
        got, want = (all_of.get(name, blank)[:4 if name not in mixed else 1 if users[name].tied else 2] for all_of in (redis, ours))
        wrong += [f"user {name}\n  redis  {got}\n  oracle {want}"] if got != want else []
    rows = list(read("examples"))
    lists = {e["id"]: (e["shown_at"], tuple(e["rows"])) for e in rows if "rows" in e}
    for e in rows:
        history = tuple(sorted((t, i, a) for i, t, a in e.get("history", ())))
        more = (e["row"], e["action"]) if "row" in e else e.get("running")
        there[e["user"]].add((*lists.get(e["id"], (e.get("erased_at"), ())), e["kind"], more, history))
    for name in sorted((there.keys() | users.keys()) - mixed):
        user = users.get(name, User(rules))  # what was erased may have been deleted before it went out
        wrong += [f"example of {name} is missing: {p}" for p in user.parts - there[name]
                  if p[2] == "erase" or min([p[0]] + [e[0] for e in p[4]]) > user.erased]
        wrong += [f"example of {name} is too much: {p}" for p in there[name] - user.parts]
    if rules["items"] and not mixed:
        (items, unsure), stored = replay(read("topic"), rules, rules["items"])[2:], collections.Counter()
        for i in read("items"):
            stored.update({(i["item"], "clicks"): i["clicks"], (i["item"], "shown"): i["shown"]})
        wrong += [f"item {k}: {stored[k]}, oracle {items[k]}" for k in sorted(items.keys() | stored.keys())
                  if items[k] != stored[k] and k[0] not in unsure]
    print(*wrong[:10], f"oracle: {len(users)} users, {len(mixed)} in part, {sum(counts.values())} records, {len(rows)} rows, {len(wrong)} differences", sep="\n")
    return bool(wrong)
sys.exit(main(sys.argv[1]))
