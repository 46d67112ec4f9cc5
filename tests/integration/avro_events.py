#!/usr/bin/env python3
"""What tests/integration/test_avro.sh needs of Avro, written without any of freshet's code.

    avro_events.py registry PORT_FILE DOWN_FILE MORE_FILE
        a schema registry on a free port; 503 while DOWN_FILE is there; knows id 4 once MORE_FILE is
    avro_events.py json|avro
        the same events, a line each: KEY<tab>JSON, or KEY<tab>the record in hexadecimal digits
    avro_events.py ugly
        records that are no events, in hexadecimal digits
"""
import json
import os
import random
import struct
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

NULLABLE = lambda t: ["null", t]
FIELDS = {
    "type": ("string", "str"),
    "user": ("string", "str"),
    "ts": ({"type": "long", "logicalType": "timestamp-millis"}, "ms"),
    "item": (NULLABLE("string"), "str?"),
    "request_id": (NULLABLE("string"), "str?"),
    "items": (NULLABLE({"type": "array", "items": "string"}), "list?"),
}
# Writers as they evolved: other orders, new fields, wider types.
WRITERS = {
    1: ["type", "user", "ts", "item", "request_id", "items"],
    2: ["price", "ts", "items", "user", "request_id", "item", "context", "type"],
    4: ["ts", "user", "type", "item", "items", "micros", "request_id"],
}
MORE = {
    "price": "double",
    "micros": {"type": "map", "values": "int"},
    "context": {"type": "record", "name": "Context", "fields": [
        {"name": "user", "type": "string"},
        {"name": "tags", "type": {"type": "array", "items": NULLABLE("long")}}]},
}
ACTIONS = ["view", "click", "hide", "impression", "erase"]


def schema(writer):
    if writer == 3:  # no user: gives no events
        return {"type": "record", "name": "Event", "fields": [{"name": "ts", "type": "long"}]}
    fields = []
    for name in WRITERS[writer]:
        kind = FIELDS[name][0] if name in FIELDS else MORE[name]
        if writer == 2 and name == "ts":
            kind = {"type": "long", "logicalType": "timestamp-micros"}
        if writer == 2 and name == "type":
            kind = {"type": "enum", "name": "Action", "symbols": ACTIONS}
        fields.append({"name": name, "type": kind})
    return {"type": "record", "name": "Event", "namespace": "shop.v%d" % writer, "fields": fields}


def number(n):
    bits, out = (n << 1) ^ (n >> 63), b""
    while bits > 0x7f:
        out, bits = out + bytes([bits & 0x7f | 0x80]), bits >> 7
    return out + bytes([bits])


def text(s):
    return number(len(s.encode())) + s.encode()


def record(event, writer):
    out = b"\0" + struct.pack(">I", writer)
    for name in WRITERS[writer]:
        value = event.get(name)
        if name == "price":
            out += struct.pack("<d", 9.5)
        elif name == "micros":
            out += number(-1) + number(3) + text("a") + number(5) + number(0)
        elif name == "context":
            out += text("not the user") + number(2) + number(1) + number(7) + number(0) + number(0)
        elif name == "ts":
            out += number(value * (1000 if writer == 2 else 1))
        elif name == "type" and writer == 2:
            out += number(ACTIONS.index(value))
        elif FIELDS[name][1] == "str":
            out += text(value)
        elif value is None:
            out += number(0)
        elif FIELDS[name][1] == "str?":
            out += number(1) + text(value)
        else:
            out += number(1) + (number(len(value)) + b"".join(map(text, value)) if value else b"") + number(0)
    return out


def events():
    rng = random.Random(7)
    for n in range(600):
        user, ts = "user%d\u00e9" % rng.randrange(20), 1700000000000 + n * 1000
        kind = rng.choices(ACTIONS, [4, 4, 1, 3, 0.05])[0]
        event = {"type": kind, "user": user, "ts": ts}
        if kind == "impression":
            event["items"] = ["i%d" % rng.randrange(30) for _ in range(rng.randrange(1, 8))]
        elif kind != "erase":
            event["item"] = "i%d" % rng.randrange(30)
        if kind != "erase" and rng.random() < 0.5:
            event["request_id"] = "r%d" % rng.randrange(50)
        yield event


def ugly():
    good = next(events())
    whole = record(good, 1)
    return [whole[:-1], whole + b"\0", b"\0\0", whole[:1] + struct.pack(">I", 3) + whole[5:],
            record(good, 4), record(dict(good, user=""), 1), record(dict(good, type="dance"), 1)]


class Registry(BaseHTTPRequestHandler):
    def do_GET(self):
        code, body = 404, {"error_code": 40403, "message": "Schema not found"}
        if os.path.exists(DOWN):
            code, body = 503, {}
        else:
            for writer in (1, 2, 3) + ((4,) if os.path.exists(MORE_FILE) else ()):
                if self.path == "/schemas/ids/%d" % writer:
                    code, body = 200, {"schema": json.dumps(schema(writer))}
        answer = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


if sys.argv[1] == "registry":
    DOWN, MORE_FILE = sys.argv[3:5]
    server = HTTPServer(("127.0.0.1", 0), Registry)
    with open(sys.argv[2] + ".new", "w") as out:
        out.write(str(server.server_port))
    os.rename(sys.argv[2] + ".new", sys.argv[2])
    server.serve_forever()
elif sys.argv[1] == "ugly":
    for raw in ugly():
        print("%s\t%s" % (next(events())["user"], raw.hex()))
else:
    for n, event in enumerate(events()):
        # A third stays JSON: both kinds may come while producers change.
        line = json.dumps(event)
        if sys.argv[1] == "avro":
            line = (line.encode() if n % 3 == 0 else record(event, n % 3)).hex()
        print("%s\t%s" % (event["user"], line))
