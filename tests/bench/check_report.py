#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_report.py PROGRAM PERFORMANCE.md: the benchmark runs, and what is made of its figures.

No figure that was measured is judged. Seen to fail: each case says by what.
"""

import copy
import json
import os
import subprocess
import sys
import tempfile
from xml.etree import ElementTree

sys.dont_write_bytecode = True  # nothing is made in the source tree

import report
from rows import ROWS

HERE = os.path.dirname(os.path.abspath(__file__))
SVG = "{http://www.w3.org/2000/svg}"


def measure(program):
    with tempfile.TemporaryDirectory() as directory:
        out = os.path.join(directory, "bench.json")
        subprocess.run([sys.executable, os.path.join(HERE, "run.py"), "--smoke", program, out],
                       check=True, stdin=subprocess.DEVNULL, timeout=250)
        with open(out, encoding="utf-8") as source:
            return json.load(source)


def without(document, is_unwanted):
    """A copy in which some results did not come about."""
    copied = copy.deepcopy(document)
    for bench in copied["benches"]:
        bench["results"] = [result for result in bench["results"] if not is_unwanted(bench, result)]
    return copied


def every_row_has_ours_and_theirs(document, _):
    assert report.incomplete(document) == [], report.incomplete(document)
    there = [row for row in ROWS if not report.is_left_out(document, row)]
    assert len(report.summary(document)) == len(there) + 1
    for bench in document["benches"]:
        for result in bench["results"]:
            assert len(result["per_second"]) <= bench["repeats"], result


def a_row_without_ours_or_theirs_is_told(document, _):
    ours = without(document, lambda bench, result: bench["bench"] == "pairs" and result["ours"])
    assert [text for text in report.incomplete(ours) if "no figure of ours" in text], "ours"
    theirs = without(document, lambda bench, result: bench["bench"] == "call" and
                     result["rival"] == "UNIX socket" and result["size"] == 64)
    told = report.incomplete(theirs)
    assert len(told) == 2 and all("64 B" in text for text in told), told


def made_up(unit, ours, theirs):
    results = [{"rival": name, "ours": name == "evering", "manner": "spinning", "size": size,
                "per_second_median": 1e9 / ns, "p50_ns": ns}
               for name, size, ns in (("evering", 8, ours), ("evering", 64, ours),
                                      ("Vyukov, no repair", 8, theirs),
                                      ("bare cache line", 64, theirs), ("slow one", 8, 9 * theirs))]
    return [{"bench": name, "batch": batch, "unit": unit, "results": results}
            for name, batch in (("pairs", 1), ("spsc", 1), ("ringtrip", 1))]


def figures_are_what_they_say(*_):
    document = {"benches": made_up("messages", 40.0, 120.0)}
    verdicts = {row.bench: (report.judge(document, row), row) for row in ROWS
                if report.judge(document, row)}
    rate, row = verdicts["spsc"]
    assert rate.figure == 3 and report.is_met(row, rate.figure), rate
    assert rate.theirs["rival"] != "slow one", rate
    assert report.is_met(row, 2.99) is False
    time, row = verdicts["pairs"]
    assert abs(time.figure - 1 / 3) < 1e-9 and report.is_met(row, time.figure), time
    assert report.is_met(row, 1.51) is False


def charts_are_svg_with_every_line(document, _):
    drawn = report.charts(document)
    assert {"latency-ringtrip", "latency-wake", "sizes-call", "batches-spsc", "latency-hub",
            "latency-lease"} <= set(drawn), list(drawn)
    for name, chart in drawn.items():
        root = ElementTree.fromstring(report.draw(chart))
        assert root.tag == SVG + "svg", name
        words = [element.text for element in root.iter(SVG + "text")]
        assert all(line.name in words for line in chart.lines), name
        points = sum(len(line.points) for line in chart.lines)
        assert len(list(root.iter(SVG + "circle"))) == points, name
        width, height = (float(word) for word in root.get("viewBox").split()[2:])
        for circle in root.iter(SVG + "circle"):
            assert 76 <= float(circle.get("cx")) <= 544 and 44 <= float(circle.get("cy")) <= 368, name
        for element in root.iter(SVG + "text"):
            if element.get("text-anchor") == "start":  # the title and the key
                wide = float(element.get("font-size", 12)) * 0.55 * len(element.text)
                assert float(element.get("x")) + wide <= width, (name, element.text)
            assert 0 <= float(element.get("y")) <= height, (name, element.text)


def what_is_counted_is_told(document, _):
    told = report.block(document, "memory")
    assert "spsc, 1024 x 8 B" in told and "| 8192 |" in told, told
    peers = next(bench for bench in document["benches"] if bench["bench"] == "peers")
    table = report.bench_table(peers)
    assert table[0][-1] == "bytes/sender" and all(float(cells[-1]) > 0 for cells in table[1:]), table
    cost = {"what": "a thing", "ours": 90, "rival": "another", "theirs": 45, "aim": 80}
    more = dict(document, instructions=[cost, dict(cost, aim=90), dict(cost, aim=None)])
    assert [cells[-1] for cells in report.summary(more)[-2:]] == ["no", "yes"]
    assert report.summary(more)[-1][4] == "2.00 times"
    assert report.block(more, "instructions").count("a thing") == 3


def rows_without_an_aim_are_not_judged(document, _):
    aimless = [row for row in ROWS if row.aim is None]
    assert aimless and all(report.is_met(row, 0.001) is None for row in aimless)
    found = [cells for cells in report.summary(document) if cells[0].startswith("memory by name")]
    assert len(found) == 2 and all(cells[4] and cells[5:] == ["", ""] for cells in found), found


def documents_are_filled_in_once(document, text):
    filled = report.fill(document, text)
    assert filled.count("<!-- bench: ") == text.count("<!-- bench: ") > 5
    assert filled.count("<!-- end -->") == text.count("<!-- end -->")
    assert "rte_ring" in filled or "Vyukov" in filled
    assert report.fill(document, filled) == filled


CASES = [every_row_has_ours_and_theirs, a_row_without_ours_or_theirs_is_told,
         figures_are_what_they_say, what_is_counted_is_told, rows_without_an_aim_are_not_judged,
         charts_are_svg_with_every_line, documents_are_filled_in_once]


def main():
    program, performance = sys.argv[1:]
    if len(os.sched_getaffinity(0)) < 2:
        print("1..0 # SKIP one CPU: what spins is left out")
        return 0
    with open(performance, encoding="utf-8") as source:
        text = source.read()
    document = measure(program)
    print("1..%d" % len(CASES))
    failed = False
    for nr, case in enumerate(CASES, 1):
        try:
            case(document, text)
            print("ok %d - bench_%s" % (nr, case.__name__))
        except Exception as complaint:  # whatever it is, it is told
            failed = True
            print("# %s" % repr(complaint).replace("\n", "\n# "))
            print("not ok %d - bench_%s" % (nr, case.__name__))
    return failed


if __name__ == "__main__":
    sys.exit(main())
