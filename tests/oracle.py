#!/usr/bin/env python3
"""Another judge of what ingest did: sets and dicts over what `freshet verify --dump FOLDER` wrote.

Shares no code with freshet. Works every user and count out of topic.jsonl by the rules as they are
documented, compares with users.jsonl and settings.json (what Redis holds), prints the first
differences and ends with 1 when there are any."""
import collections, json, math, sys


def is_id(value, most):
    """A text of 1..most bytes without a zero; a whole number counts as its digits."""
    value = str(value) if type(value) is int else value
    return isinstance(value, str) and 1 <= len(value.encode("utf-8", "replace")) <= most and "\0" not in value


def decode(record, rules):
    """The event of a record, or None when it is a dead letter."""
    try:
        event = json.loads(bytes.fromhex(record["value"]).decode("utf-8"))
        key = bytes.fromhex(record["key"]).decode("utf-8")
        time, kind, request = event.get("ts"), event.get("type"), event.get("request_id")
        latest = record["ts"] + rules["max_future_skew_ms"]
        if type(time) not in (int, float) or not math.isfinite(time) or time != int(time):
            return None
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    if not is_id(event.get("user"), 128) or str(event["user"]) != key or not 946684800000 <= time <= latest:
        return None
    if request is not None and not is_id(request, 128):
        return None
    out = {"user": key, "time": int(time), "kind": kind, "request": request}
    if kind == "impression":
        rows = event.get("items")
        good = isinstance(rows, list) and 1 <= len(rows) <= 512 and all(is_id(row, 256) for row in rows)
        return dict(out, rows=[str(row) for row in rows]) if good else None
    if kind != "erase" and (kind not in rules["actions"] or not is_id(event.get("item"), 256)):
        return None
    return dict(out, item=str(event.get("item")), action=rules["actions"].get(kind))


class User:
    def __init__(self, rules):
        self.rules, self.entries, self.taken, self.opens, self.erased, self.running = rules, set(), set(), [], 0, 0

    def near(self, shown, time):
        return 0 <= time - shown["at"] <= self.rules["join_window_ms"]

    def keep(self, shown):
        self.opens = sorted(self.opens + [shown], key=lambda o: o["at"])[-self.rules["joins_max"]:]

    @staticmethod
    def give(shown, label):
        if not any((item, action) == (label[0], label[2]) for item, _, action in shown["labels"]):
            shown["labels"].add(label)

    def erase(self, time):
        self.erased = max(self.erased, time)
        self.entries = {e for e in self.entries if e[0] > self.erased}
        for stub in (o for o in self.opens if not o["rows"]):
            stub["labels"] = {label for label in stub["labels"] if label[1] > self.erased}
            stub["at"] = min((label[1] for label in stub["labels"]), default=0)
        self.opens = sorted((o for o in self.opens if o["at"] > self.erased), key=lambda o: o["at"])
        return "applied"

    def shown(self, event):
        request, rows, at = event["request"], event["rows"], event["time"]
        for o in self.opens:
            if o["rows"] and (o["request"] == request if request else (o["at"], o["rows"]) == (at, rows)):
                return "duplicate"
        new = {"request": request, "at": at, "rows": rows, "labels": set()}
        for stub in [o for o in self.opens if request and o["request"] == request]:
            self.opens.remove(stub)
            for label in sorted(stub["labels"], key=lambda l: l[1]):
                if self.near(new, label[1]) and label[0] in rows:
                    self.give(new, label)
        labels = {a["code"] for a in self.rules["actions"].values() if a["label"]}
        for entry in sorted(self.entries - self.taken):
            if self.near(new, entry[0]) and entry[1] in rows and entry[2] in labels:
                self.give(new, (entry[1], entry[0], entry[2]))
                self.taken.add(entry)
        self.keep(new)
        return "applied"

    def act(self, event):
        entry, what = (event["time"], event["item"], event["action"]["code"]), "applied"
        if event["action"]["history"]:
            if entry in self.entries:
                return "duplicate"
            kept = set(sorted(self.entries | {entry})[-self.rules["sequence_max"]:])
            what = "applied" if entry in kept else "late"
            self.running, self.entries = self.running + (entry in kept), kept
        if event["action"]["label"] and self.label(event["request"], (entry[1], entry[0], entry[2])):
            self.taken.add(entry)
        return what

    def label(self, request, label):
        named = [o for o in self.opens if request and o["request"] == request]
        if request and not (named and named[0]["rows"]):  # its list has not been seen
            stub = named[0] if named else {"request": request, "rows": [], "labels": set()}
            self.opens = [o for o in self.opens if o is not stub]
            stub["labels"].add(label)
            stub["at"] = min(time for _, time, _ in stub["labels"])
            self.keep(stub)
            return True
        for o in named or reversed(self.opens):
            if self.near(o, label[1]) and label[0] in o["rows"]:
                self.give(o, label)
                return True
        return bool(named)

    def apply(self, event, watermark):
        if event["kind"] == "erase" or event["time"] <= self.erased:
            return self.erase(event["time"]) if event["kind"] == "erase" else "erased"
        if watermark - event["time"] > self.rules["late_max_ms"]:
            return "dropped"
        return self.shown(event) if event["kind"] == "impression" else self.act(event)


def picture(running, erased, entries, opens):
    opens = [[o["request"], o["at"], o["rows"], sorted(map(list, o["labels"]))] for o in opens]
    return [running, erased, sorted(map(list, entries)), opens]


def main(folder):
    rules = json.load(open(folder + "/settings.json", encoding="utf-8"))
    users, counts, marks, wrong = {}, collections.Counter(), collections.defaultdict(lambda: -10**18), []
    for record in map(json.loads, open(folder + "/topic.jsonl", encoding="utf-8")):
        event, p = decode(record, rules), record["p"]
        if event is None:
            counts[p, "dead"] += 1
            continue
        counts[p, users.setdefault(event["user"], User(rules)).apply(event, marks[p])] += 1
        marks[p] = max(marks[p], min(event["time"], record["ts"] + rules["max_future_skew_ms"]))
    for p, stored in rules["partitions"].items():
        wrong += [f"partition {p}: {name} is {stored[name]}, oracle {counts[int(p), name]}"
                  for name in stored if name != "next" and stored[name] != counts[int(p), name]]
    redis, blank = {}, picture(0, 0, [], [])  # a user with nothing to keep has no value
    for u in map(json.loads, open(folder + "/users.jsonl", encoding="utf-8")):
        opens = [dict(o, at=o["shown_at"]) for o in u["opens"]]
        redis[u["user"]] = picture(u["running"], u["erased_at"], [[t, i, a] for i, t, a in u["entries"]], opens)
    ours = {name: picture(u.running, u.erased, u.entries, u.opens) for name, u in users.items()}
    wrong += [f"user {name}\n  redis  {redis.get(name)}\n  oracle {ours.get(name)}"
              for name in sorted(redis.keys() | ours.keys()) if redis.get(name, blank) != ours.get(name, blank)]
    print("\n".join(wrong[:10]), f"oracle: {len(users)} users, {sum(counts.values())} records, {len(wrong)} differences")
    return 1 if wrong else 0


sys.exit(main(sys.argv[1]))
