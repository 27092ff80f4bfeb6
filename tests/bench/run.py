#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run.py [--quick] PROGRAM OUT.json: run all benches of rows.py, write what they gave.

PROGRAM is evering-bench. --smoke: a few operations of what the rows compare, to see that it runs.
"""

import argparse
import json
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # nothing is made in the source tree

from rows import COUNTED, ROWS, RUNS, Run

# jemalloc is opened at run time, and its thread-local storage wants room.
ENVIRONMENT = {"GLIBC_TUNABLES": "glibc.rtld.optional_static_tls=65536"}
REPEATS = 5
QUICK_SECONDS = 0.06  # of each second of the default form
SMOKE_COUNT = 3


def smoke_runs():
    """One run for each bench, size and batch that a row needs."""
    needed = {(row.bench, row.size, row.batch): None for row in ROWS}
    return [Run(bench, 0, ["--size", str(size)] + (["--batch", str(batch)] if batch else []), True)
            for bench, size, batch in needed] + [Run(bench, 0, [], True) for bench in COUNTED]


def chosen_runs(args, left_out):
    """Without those that the program does not have: it was built without the driver."""
    names = subprocess.run([args.program, "--words", "bench"], text=True, check=True,
                           stdout=subprocess.PIPE).stdout.split()
    runs = [run for run in (smoke_runs() if args.smoke else RUNS)
            if (run.quick or not args.quick) and (not args.only or run.bench in args.only)]
    left_out.update("%s: this program does not have it: left out" % run.bench
                    for run in runs if run.bench not in names)
    return [run for run in runs if run.bench in names]


def command(program, run, args):
    words = [program, "bench", run.bench, "--json", *run.options]
    if run.bench in COUNTED:
        return words
    if args.smoke:
        return words + ["--count", str(SMOKE_COUNT), "--repeats", "1"]
    if args.quick:
        return words + ["--seconds", str(run.seconds * QUICK_SECONDS), "--repeats", "1"]
    return words + ["--seconds", str(run.seconds), "--repeats", str(REPEATS)]


def measure(run, args, left_out):
    words = command(args.program, run, args)
    began = time.monotonic()
    done = subprocess.run(words, env={**os.environ, **ENVIRONMENT}, text=True, timeout=600,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    for line in done.stderr.splitlines():
        if line not in left_out:
            print(line, file=sys.stderr)
        left_out.add(line)
    if done.returncode:
        sys.exit("run.py: %s: status %d" % (" ".join(words), done.returncode))
    results = json.loads(done.stdout)
    for result in results:
        result["command"] = " ".join([os.path.basename(args.program), *words[1:]])
        result["seconds"] = round(time.monotonic() - began, 1)
    return results


def costs(program, left_out):
    """Instructions, counted by callgrind: [{what, ours, rival, theirs, aim}]."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "costs.sh")
    done = subprocess.run(["sh", script, os.path.dirname(program)], text=True, timeout=300,
                          stdout=subprocess.PIPE, check=False)
    found = []
    for line in done.stdout.splitlines():
        if "|" not in line:
            left_out.add("instructions: %s" % line)
            continue
        what, ours, rival, theirs, aim = line.split("|")
        found.append({"what": what, "ours": int(ours), "rival": rival or None,
                      "theirs": int(theirs) if theirs else None, "aim": int(aim) if aim else None})
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--only", action="append", help="this bench")
    parser.add_argument("program")
    parser.add_argument("out")
    args = parser.parse_args()
    left_out = set()
    began = time.monotonic()
    results = []
    counted = {}
    for run in chosen_runs(args, left_out):
        measured = measure(run, args, left_out)
        if run.bench in COUNTED:
            counted[run.bench] = measured[0]["results"]
        else:
            results += measured
        if not args.smoke:
            print("%4.0f s  %s %s" % (time.monotonic() - began, run.bench, " ".join(run.options)),
                  file=sys.stderr, flush=True)
    instructions = [] if args.smoke or args.quick or args.only else costs(args.program, left_out)
    document = {"made": time.strftime("%Y-%m-%d", time.gmtime()),
                "form": "smoke" if args.smoke else "quick" if args.quick else "default",
                "seconds": round(time.monotonic() - began, 1), "left_out": sorted(left_out),
                "benches": results, "counted": counted, "instructions": instructions}
    with open(args.out + ".new", "w", encoding="utf-8") as out:
        json.dump(document, out, indent=1)
        out.write("\n")
    os.replace(args.out + ".new", args.out)


if __name__ == "__main__":
    main()
