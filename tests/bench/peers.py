#!/usr/bin/env python3
"""tests/bench/peers.py BUILD PEERS VENV - freshet beside PyTorch and ONNX Runtime, in the same rounds.

PEERS is a folder with the peers' own programs (model.py, bench_forward.py, bench_train.py, dump_golden.py);
each checks the scores of every variant against a literal float64 reference before it times it. VENV is a
virtual environment with torch, onnx, onnxscript, onnxruntime and numpy; it is made where it is missing (a
torch wheel for the CPU suffices: say where it is found in pip's own configuration).

What is fair: the same weights and requests (dump_golden.py writes them, freshet's scores are compared with
theirs first), float32, one thread, one core, rounds that alternate between all programs, eight requests in
turn, nothing kept between calls. Training: the same sizes, every position a target, batch assembly inside.

Prints tables, appends figures to build/bench.jsonl, leaves everything in build/peers/. Exit 1 when freshet's
scores differ or a figure is missing; a ratio that is not reached is said, and is no failure."""
import argparse
import json
import os
import subprocess
import sys

SHAPES = [("small", 64, 200), ("small", 100, 1000), ("medium", 256, 500)]
PACKAGES = ["torch", "onnx", "onnxscript", "onnxruntime", "numpy"]
CPU = "0"
OUT = "build/peers"
clock = None  # to be preloaded: processor time in place of the wall's


def say(*words):
    print(*words, flush=True)


def python_of(venv):
    python = os.path.join(venv, "bin", "python")
    if not os.path.exists(python):
        say(f"making {venv} with {' '.join(PACKAGES)}")
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
    return python


def pinned(command):
    """On one core, and before others where the system lets us."""
    nice = ["nice", "-n", "-10"] if os.geteuid() == 0 else []
    return [*nice, "taskset", "-c", CPU, *command]


def run_json(command, name):
    """Runs a program that prints JSON lines; they are kept in OUT/name.json."""
    environment = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", OMP_NUM_THREADS="1")
    if clock:
        environment["LD_PRELOAD"] = os.path.abspath(clock)
    done = subprocess.run(pinned(command), stdout=subprocess.PIPE, text=True, env=environment)
    with open(os.path.join(OUT, f"{name}.json"), "w") as f:
        f.write(done.stdout)
    if done.returncode != 0:
        sys.exit(f"peers.py: {' '.join(command[:2])} ended with {done.returncode}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def figure(name, value, unit, limit_name, limit):
    row = {"name": name, "value": value, "unit": unit, "limit_name": limit_name, "limit": limit, "ratio": value / limit}
    with open("build/bench.jsonl", "a") as f:
        f.write(json.dumps(row) + "\n")
    say(f"{name:34} {value:10.4g} {unit:12} {limit_name} {limit:.4g}, ratio {value / limit:.3f}")


def golden(python, a, preset, n, m):
    """Weights and requests of the peers, and freshet's scores on them: the command that times it."""
    folder = os.path.join(OUT, f"{preset}_{n}x{m}")
    if not os.path.exists(os.path.join(folder, "request_7.json")):
        subprocess.run([python, os.path.join(a.peers, "dump_golden.py"), folder, "--preset", preset, "--n", str(n),
                        "--m", str(m), "--requests", "8"], check=True, env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"))
    command = ["env", f"FRESHET_GOLDEN={folder}", os.path.join(a.build, "bench", "bench_request"), "request", preset, str(n), str(m)]
    row = run_json(command, f"check_{preset}_{n}x{m}")[0]
    if not row["verified"]:
        sys.exit(f"peers.py: freshet's scores were not compared at {preset} {n}x{m}")
    say(f"{preset} {n}x{m}: freshet's scores are the peers' within {row['max_error']:.1e} ({row['isa']})")
    return " ".join(command)


def forward(python, a):
    theirs = json.loads(subprocess.run([python, "-c", "import json, model; print(json.dumps(model.SHAPES))"], check=True, text=True,
                                       stdout=subprocess.PIPE, env=dict(os.environ, PYTHONPATH=a.peers, PYTHONDONTWRITEBYTECODE="1")).stdout)
    for k, (preset, n, m) in enumerate(SHAPES):
        peers = ["--peer", "freshet", golden(python, a, preset, n, m)]
        if k == 0:
            peers += ["--peer", "freshet served", f"{a.build}/bench/bench_serve --rank"]
        rows = run_json([python, os.path.join(a.peers, "bench_forward.py"), "--jobs", "request", "--shapes",
                         str(theirs.index([preset, n, m])), "--rounds", str(a.rounds), "--skip", "jit", "int8", "c",
                         *(["compile"] if a.quick else []), *peers], f"forward_{preset}_{n}x{m}")
        by = {r["variant"]: r for r in rows if r["bench"] == "forward"}
        for name in ["freshet", "ort f32"] + (["freshet served"] if k == 0 else []):
            if name not in by:
                sys.exit(f"peers.py: no figure of {name} at {preset} {n}x{m}")
        ours = by["freshet"]["median_ms"]
        shape = f"{n}x{m}" if preset == "small" else f"{preset}_{n}x{m}"
        for name, r in by.items():
            if not name.startswith("freshet"):
                figure(f"rerank_{shape}_ms", ours, "ms", name, r["median_ms"])
        if k == 0:
            figure("rerank_served_64x200_ms", by["freshet served"]["median_ms"], "ms", "freshet's own request", ours)


def train(python, a):
    build, peers = os.path.join(a.build, "bench"), []
    for block in (0, 16):
        peers += ["--peer", f"freshet {block}", f"{build}/bench_train {{T}} {{items}} {block} 1.5 --json"]
    if os.path.exists(f"{build}/products"):
        peers += ["--peer", "products", f"{build}/products {{T}}"]
    rows = run_json([python, os.path.join(a.peers, "bench_train.py"), "--batches", "16", "64", "--rounds", str(a.rounds),
                     "--no-c", "--no-bf16", *peers], "train")
    rows = [r for r in rows if r.get("bench") == "train"]
    ours = {r["variant"]: r["seqs_per_s"] for r in rows}
    for block in (0, 16):
        mine = ours.get(f"freshet {block}")
        if mine is None:
            sys.exit(f"peers.py: no figure of freshet's training with negatives of {block}")
        for r in rows:
            if r["variant"] in ("eager", "compile") and r["neg_block"] == block:
                figure(f"train_sequences_per_s_block_{block}", mine, "sequences/s", f"torch {r['variant']}, batch {r['batch']}", r["seqs_per_s"])
        if "products" in ours:
            figure(f"train_sequences_per_s_block_{block}", mine, "sequences/s", "products alone", ours["products"])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build")
    p.add_argument("peers")
    p.add_argument("venv")
    p.add_argument("--rounds", type=int, default=8)
    p.add_argument("--quick", action="store_true", help="forward without torch.compile, which takes a minute a shape to build")
    p.add_argument("--only", choices=["forward", "train"])
    p.add_argument("--processor-time", action="store_true", help="for a machine that is not quiet: time the processor alone")
    a = p.parse_args()
    global clock
    clock = os.path.join(a.build, "bench", "cpuclock.so") if a.processor_time else None
    if not os.path.exists(os.path.join(a.peers, "bench_forward.py")):
        sys.exit(f"peers.py: no peers in \"{a.peers}\": make bench-peers PEERS=folder")
    python = python_of(a.venv)
    os.makedirs(OUT, exist_ok=True)
    if a.only != "train":
        forward(python, a)
    if a.only != "forward":
        train(python, a)


if __name__ == "__main__":
    main()
