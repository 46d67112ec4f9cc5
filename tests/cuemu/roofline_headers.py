"""Writes what `make roofline` counted into the heads of kernels/cuda/*.cu, or checks that it stands there.

    python3 tests/cuemu/roofline_headers.py write|check TABLES

TABLES is the output of `make roofline` with nvcc. Figures are of one compiler: with another one
registers and operations differ, bytes hardly. `make roofline HEADERS=write` and `HEADERS=check` run it.
"""

import glob
import re
import sys

BEGIN = " * Roofline"
NOTE = [
    " * Roofline of a launch, by `make roofline`: bytes asked, least; float instructions; on A100, H100\n",
    " * registers, shared bytes, occupancy (ptxas), and the floor in us, an estimate, by bytes or floats.\n",
]
UNITS = {"k": 1e3, "M": 1e6, "G": 1e9}


def number(text):
    return float(text[:-1]) * UNITS[text[-1]] if text[-1] in UNITS else float(text)


def short(value):
    if value < 1e5:
        return f"{value:.0f}"
    return f"{value / 1e3:.0f}k" if value < 1e7 else f"{value / 1e6:.1f}M"


def rows_of(path):
    """{kernel: line}."""
    rows, table = {}, ""
    for line in open(path):
        if re.match("[rsonhb]: ", line):
            table = line[0]
        at = line.split()
        if len(at) < 20 or not at[0].endswith("_kernel"):
            continue
        # kernel runs asked least ratio fma float special integer other shared, then twice:
        # registers shared occupancy ~ floor by
        devices = re.findall(r"(\d+) +(\d+) +(\d+)% ~ *([\d.]+) ([bf])", line)
        if len(devices) != 2:
            sys.exit(f"{path}: no registers of {at[0]}: is nvcc here?")
        text = f" *   {at[0].removesuffix('_kernel'):21}{table}"
        for value in number(at[2]), number(at[3]), number(at[5]) + number(at[6]):
            text += f"{short(value):>8}"
        for registers, shared, occupancy, floor, by in devices:
            text += f"{registers:>5}{shared:>6}{occupancy:>4}% ~{floor}{by}"
        rows.setdefault(at[0], text + "\n")  # of the first table that has it
    return rows


def with_figures(lines, rows):
    """The file's lines, its head with the figures of its kernels."""
    end = lines.index(" */\n")
    begin = next((i for i in range(end) if lines[i].startswith(BEGIN)), None)
    head = lines[: begin - 1 if begin is not None else end]
    kernels = re.findall(r"^ +(\w+_kernel)\(", "".join(lines), re.M)
    missing = [kernel for kernel in kernels if kernel not in rows]
    if missing:
        sys.exit(f"in no table of make roofline: {' '.join(missing)}")
    figures = [rows[kernel] for kernel in kernels]
    return head + ([" *\n"] + NOTE + figures if figures else []) + lines[end:]


def main():
    how, path = sys.argv[1:]
    rows, wrong = rows_of(path), 0
    if not rows:
        sys.exit(f"{path}: no table of kernels")
    for name in sorted(glob.glob("kernels/cuda/*.cu")):
        lines = open(name).readlines()
        now = with_figures(lines, rows)
        if how == "write":
            open(name, "w").writelines(now)
        elif now != lines:
            wrong += 1
            said = set(lines)
            print(f"{name}: its head should say")
            print("".join(line for line in now if line not in said), end="")
    if wrong:
        sys.exit(f"{wrong} heads are not as counted: make roofline HEADERS=write")


main()
