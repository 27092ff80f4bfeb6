#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""report.py BENCH.json [--svg DIR] [--docs FILE]: tables and plots of what run.py measured.

Without an option: the summary, which says of each aim whether it is met.
--docs: fill in what stands between <!-- bench: NAME --> and <!-- end -->.
"""

import argparse
import json
import os
import re
import statistics
import sys
from collections import namedtuple

sys.dont_write_bytecode = True  # nothing is made in the source tree

from chart import Chart, Line, draw
from rows import FASTEST, ROWS

TIMES = [("p50_ns", "p50"), ("p90_ns", "p90"), ("p99_ns", "p99"), ("p999_ns", "p99.9"),
         ("max_ns", "longest")]
GIB = 1 << 30


def scaled(value, units):
    """Three digits, and the unit that suits."""
    for factor, unit in units:
        if value >= factor:
            break
    value /= factor
    return "%.*f%s" % (0 if value >= 99.5 else 1 if value >= 9.95 else 2, value, unit)


def time_text(ns):
    return scaled(ns, [(1e9, " s"), (1e6, " ms"), (1e3, " us"), (1, " ns"), (1, " ns")])


def rate_text(rate):
    return scaled(rate, [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"), (1, "")])


def size_text(size):
    return scaled(size, [(GIB, " GiB"), (1 << 20, " MiB"), (1 << 10, " KiB"), (1, " B")]) \
        if size >= 1024 and size % 1024 else next(
            "%d %s" % (size // factor, unit) for factor, unit in
            [(GIB, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")] if size >= factor)


def each_ns(bench, result):
    """Time of one operation: of round trips the median trip, else what the rate comes to."""
    return result["p50_ns"] if bench["unit"] == "round trips" else 1e9 / result["per_second_median"]


def find_benches(document, name, batch):
    return [bench for bench in document["benches"]
            if bench["bench"] == name and batch in (0, bench["batch"])]


def find_results(benches, size, manner):
    """(bench, result) of those that ran."""
    return [(bench, result) for bench in benches for result in bench["results"]
            if result["size"] == size and result["manner"] == manner and
            result["per_second_median"] > 0]


def rivals_of(row, benches):
    """The times of an operation, and the results, that a row compares with; the fastest first."""
    names = [row.theirs] if isinstance(row.theirs, str) else row.theirs
    found = [(each_ns(bench, result), result) for bench, result
             in find_results(benches, row.size, row.their_manner)
             if (not result["ours"] if row.theirs == FASTEST else result["rival"] in names)]
    return sorted(found, key=lambda pair: pair[0])


def figure_of(row, ours_ns, theirs_ns):
    if row.kind == "rate":
        return theirs_ns / ours_ns
    if row.kind == "time":
        return ours_ns / theirs_ns
    if row.kind == "more":
        return ours_ns - theirs_ns
    return ours_ns / 1e6 * GIB / row.size


# theirs, their time and the figure are None when no such rival ran.
Verdict = namedtuple("Verdict", "ours_ns theirs theirs_ns figure")


def judge(document, row):
    """What a row comes to, or None when ours was not run."""
    benches = find_benches(document, row.bench, row.batch)
    ours = [each_ns(bench, result) for bench, result in find_results(benches, row.size, row.manner)
            if result["rival"] == row.ours]
    if not ours:
        return None
    theirs = rivals_of(row, benches)
    if not theirs:
        return Verdict(ours[0], None, None, None)
    return Verdict(ours[0], theirs[0][1], theirs[0][0], figure_of(row, ours[0], theirs[0][0]))


UNITS = {"rate": "%.2f times the rate", "time": "%.2f times the time", "more": "%+.1f ns",
         "each": "%.2f ms a GiB"}


def is_met(row, figure):
    """None when nothing is aimed at."""
    if row.aim is None:
        return None
    return figure >= row.aim if row.kind == "rate" else figure <= row.aim


MET = {True: "yes", False: "no", None: ""}


def aim_text(row):
    if row.aim is None:
        return ""
    sign = "at least" if row.kind == "rate" else "at most"
    return "%s %g%s" % (sign, row.aim, {"more": " ns", "each": " ms a GiB"}.get(row.kind, ""))


def summary(document):
    """The rows of the summary: what, how, ours, theirs, figure, aim, met."""
    table = [["", "ours", "theirs", "each", "ratio", "aim", "met"]]
    for row in ROWS:
        found = judge(document, row)
        if not found:
            continue
        what = "%s (%s)" % (row.what, row.manner)
        mine = time_text(found.ours_ns)
        if found.theirs is None:
            table.append([what, mine, "not installed here", "", "", aim_text(row), ""])
            continue
        other = found.theirs["rival"]
        if row.their_manner != row.manner:
            other += ", " + row.their_manner
        table.append([what, mine, other, time_text(found.theirs_ns), UNITS[row.kind] % found.figure,
                      aim_text(row), MET[is_met(row, found.figure)]])
    return table + [cost_cells(cost) for cost in document["instructions"] if cost["aim"]]


def cost_cells(cost):
    """A row of the summary for what was counted in instructions."""
    theirs = [cost["rival"], "%d" % cost["theirs"], "%.2f times" % (cost["ours"] / cost["theirs"])] \
        if cost["rival"] else ["", "", ""]
    return ["%s (instructions)" % cost["what"], "%d" % cost["ours"], *theirs,
            "at most %d" % cost["aim"], "yes" if cost["ours"] <= cost["aim"] else "no"]


def bench_table(bench):
    """All results of one bench, slowest manner last."""
    trips = bench["unit"] == "round trips"
    heads = [name for _, name in TIMES] if trips else ["each", "a second"]
    if bench["unit"] == "bytes":
        heads.append("bytes a second")
    counted = [bench["counted"].lower()] if bench.get("counted") else []
    table = [["", "size", "manner", *heads, "spread", "CPU", *counted]]
    for result in bench["results"]:
        if not result["per_second_median"]:
            continue
        cells = [time_text(result[key]) for key, _ in TIMES] if trips else [
            time_text(each_ns(bench, result)), rate_text(result["per_second_median"])]
        if bench["unit"] == "bytes":
            cells.append(rate_text(result["bytes_per_second_median"]))
        table.append([result["rival"], size_text(result["size"]), result["manner"], *cells,
                      "%.0f %%" % result["spread_percent"],
                      time_text(result["cpu_ns_per_operation"]),
                      *["%.1f" % result["counted"] for _ in counted]])
    return table


def memory_table(document):
    return [["", "bytes", "of these data", "beside"]] + [
        [row["what"], "%.1f" % row["bytes"], "%.0f" % row["data_bytes"],
         "%.1f" % (row["bytes"] - row["data_bytes"])] for row in document["counted"]["memory"]]


def instructions_table(document):
    return [["", "instructions", "rival", "its", "aim"]] + [
        [cost["what"], "%d" % cost["ours"], cost["rival"] or "",
         "%d" % cost["theirs"] if cost["rival"] else "",
         "at most %d" % cost["aim"] if cost["aim"] else ""] for cost in document["instructions"]]


def as_markdown(table):
    lines = ["| " + " | ".join(cells) + " |" for cells in table]
    lines.insert(1, "|" + "---|" * len(table[0]))
    return "\n".join(lines)


def as_text(table):
    widths = [max(len(cells[i]) for cells in table) for i in range(len(table[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip()
                     for cells in table)


def by_name(pairs, is_ours):
    """{name: [(x, y)]} as lines; ours first."""
    lines = {}
    for name, x, y in pairs:
        lines.setdefault(name, []).append((x, y))
    return sorted((Line(name, sorted(points), is_ours[name]) for name, points in lines.items()),
                  key=lambda line: (not line.is_ours, line.name))


def label(result):
    return "%s, %s" % (result["rival"], result["manner"])


def latency_chart(bench):
    sizes = {result["size"] for result in bench["results"]}

    def named(result):
        return label(result) + (", " + size_text(result["size"]) if len(sizes) > 1 else "")

    pairs = [(named(result), place, result[key]) for result in bench["results"]
             for place, (key, _) in enumerate(TIMES) if result["per_second_median"]]
    ours = {named(result): result["ours"] for result in bench["results"]}
    return Chart("%s: %s" % (bench["bench"], bench["summary"]), "part of all that took no longer",
                 "time", [(place, name) for place, (_, name) in enumerate(TIMES)], False,
                 by_name(pairs, ours), time_text)


def sizes_chart(benches):
    first = benches[0]
    is_bytes = first["unit"] == "bytes"
    key = "bytes_per_second_median" if is_bytes else "per_second_median"
    results = [result for bench in benches if bench["batch"] == first["batch"]
               for result in bench["results"] if result[key]]
    pairs = [(label(result), result["size"], result[key]) for result in results]
    ours = {label(result): result["ours"] for result in results}
    sizes = sorted({size for _, size, _ in pairs})
    if len(sizes) < 2:
        return None
    return Chart("%s: %s" % (first["bench"], first["summary"]), "bytes of each",
                 "bytes a second" if is_bytes else "a second",
                 [(size, size_text(size)) for size in sizes], True, by_name(pairs, ours), rate_text)


def batches_chart(benches):
    pairs, ours = [], {}
    for bench in benches:
        for result in bench["results"]:
            if result["manner"] == "spinning" and result["per_second_median"]:
                pairs.append((result["rival"], bench["batch"], result["per_second_median"]))
                ours[result["rival"]] = result["ours"]
    batches = sorted({batch for _, batch, _ in pairs})
    if len(batches) < 2:
        return None
    return Chart("%s: %s, spinning" % (benches[0]["bench"], benches[0]["summary"]), "messages in a batch",
                 "messages a second", [(batch, str(batch)) for batch in batches], True,
                 by_name(pairs, ours), rate_text)


def charts(document):
    """{file's name: chart}."""
    found = {}
    for name in {bench["bench"] for bench in document["benches"]}:
        benches = find_benches(document, name, 0)
        if benches[0]["unit"] != "round trips":
            found["sizes-" + name] = sizes_chart(benches)
            found["batches-" + name] = batches_chart(benches)
        elif name not in ("reap", "death"):
            found["latency-" + name] = latency_chart(benches[0])
    return {name: chart for name, chart in sorted(found.items()) if chart and chart.lines}


def write_charts(document, directory):
    os.makedirs(directory, exist_ok=True)
    for name, chart in charts(document).items():
        with open(os.path.join(directory, name + ".svg"), "w", encoding="utf-8") as out:
            out.write(draw(chart))


def machine_text(document):
    bench = document["benches"][0]
    spreads = [result["spread_percent"] for one in document["benches"] for result in one["results"]
               if result["per_second_median"]]
    lines = ["%s; %s; %d CPUs, measured on %d and %d (%s); %s backend; %d repeats; %s, in %.0f s." % (
        bench["kernel"], bench["model"], bench["cpus"], bench["cpu_near"], bench["cpu_far"],
        bench["distance"], bench["backend"], bench["repeats"], document["made"], document["seconds"]),
             "Half of all series have a spread of less than %.0f %%." % statistics.median(spreads)]
    return "\n".join(lines)


def block(document, name):
    """What stands in a document between the markers of that name."""
    if name == "machine":
        return machine_text(document)
    if name == "summary":
        return as_markdown(summary(document))
    if name == "memory" and "memory" in document["counted"]:
        return "`evering bench memory`\n\n%s" % as_markdown(memory_table(document))
    if name == "instructions" and document["instructions"]:
        return as_markdown(instructions_table(document))
    bench_name, _, batch = name.partition(" ")
    benches = find_benches(document, bench_name, int(batch or 0))
    if not benches:
        return "Not measured in the %s form." % document["form"]
    bench = benches[0]
    return "`%s`\n\n%s" % (bench["command"], as_markdown(bench_table(bench)))


def fill(document, text):
    return re.sub(r"(<!-- bench: ([a-z0-9 -]+) -->\n).*?(<!-- end -->)",
                  lambda found: "%s\n%s\n\n%s" % (found[1], block(document, found[2]), found[3]),
                  text, flags=re.DOTALL)


def is_left_out(document, row):
    """Has the program said that it cannot have the driver of this row here?"""
    return row.ours.startswith("evering driver") and any(line.startswith(("evering: bench: %s: " % row.ours, "%s: this program" % row.bench))
               for line in document["left_out"])


def incomplete(document):
    """What every row is to have and some row has not; not of rivals that ran nowhere."""
    ran = {result["rival"] for bench in document["benches"] for result in bench["results"]
           if result["per_second_median"]}
    complaints = []
    for row in ROWS:
        if is_left_out(document, row):
            continue
        names = [row.theirs] if isinstance(row.theirs, str) else row.theirs
        found = judge(document, row)
        if not found:
            complaints.append("%s (%s): no figure of ours" % (row.what, row.manner))
        elif not found.theirs and ran.intersection(names):
            complaints.append("%s (%s): no figure of %s" % (row.what, row.manner, " or ".join(names)))
    return complaints


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("json")
    parser.add_argument("--svg", metavar="DIR")
    parser.add_argument("--docs", metavar="FILE")
    args = parser.parse_args()
    with open(args.json, encoding="utf-8") as source:
        document = json.load(source)
    if args.svg:
        write_charts(document, args.svg)
    if args.docs:
        with open(args.docs, encoding="utf-8") as source:
            filled = fill(document, source.read())
        with open(args.docs, "w", encoding="utf-8") as out:
            out.write(filled)
    print(as_text(summary(document)), flush=True)
    for line in document["left_out"]:
        print(line)


if __name__ == "__main__":
    main()
