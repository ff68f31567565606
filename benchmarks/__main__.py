"""``python -m benchmarks``: compare evloop with the other event loops."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import (
    callgrind,
    loops,
    registry,
    report,
    runner,
    serving,
    sockets,
    tls,
    web,
    workloads,  # noqa: F401 (registers the workloads)
)
from .registry import Row, Workload
from .sockets import SocketRow
from .tls import TlsRow
from .web import WebRow

# After the workloads, because they take longer.
for _row in (*sockets.ROWS, *tls.ROWS, *web.ROWS):
    registry.register(_row)


#: What measures a kind of rows, and what counts its instructions.
MEASURE = {
    Workload: runner.measure,
    SocketRow: sockets.measure,
    TlsRow: sockets.measure,
    WebRow: web.measure,
}
COUNT = {
    Workload: callgrind.instructions,
    SocketRow: sockets.instructions,
    TlsRow: sockets.instructions,
}

#: What says which of the things that a row needs are not installed.
MISSING = {TlsRow: tls.missing, WebRow: web.missing}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add(
        "--loops",
        "--loop",
        nargs="+",
        choices=loops.NAMES,
        metavar="LOOP",
        help=f"loops to measure, of {', '.join(loops.NAMES)} (all that are installed)",
    )
    add("--group", nargs="+", choices=registry.groups(), default=[], help="groups")
    add(
        "-k",
        "--rows",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="rows of that key, or whose name holds one of these texts",
    )
    add("--rounds", type=_positive(int), default=5, help="rounds (5)")
    add("--median", action="store_true", help="show the median round, not the best")
    add(
        "--seconds",
        type=_positive(float),
        default=0.3,
        help="how long a measurement lasts, about (0.3)",
    )
    add(
        "--cpu",
        type=int,
        default=max(os.sched_getaffinity(0)),
        help="core that the measured processes run on (the last one)",
    )
    add(
        "--load-cpu",
        type=int,
        help="core for the load on servers (the first other one)",
    )
    add("--json", type=Path, metavar="FILE", help="write all figures here")
    add("--rst", type=Path, metavar="FILE", help="write a table for the docs here")
    add("--list", action="store_true", help="list the rows and end")
    add(
        "--callgrind",
        nargs="?",
        const="",
        metavar="ROW",
        help="count instructions per operation with valgrind, of rows that hold "
        "this text (on evloop, unless --loop says otherwise)",
    )
    return parser


def _positive(number: Callable[[str], float]) -> Callable[[str], float]:
    def convert(text: str) -> float:
        value = number(text)
        if not value > 0:
            raise argparse.ArgumentTypeError("must be greater than 0")
        return value

    convert.__name__ = number.__name__
    return convert


def _list(rows: Sequence[Row]) -> None:
    width = max(len(row.key) for row in rows)
    for row in rows:
        print(f"{row.key:{width}}  {row.description}")


def _callgrind(rows: Sequence[Row], names: Sequence[str]) -> int:
    if not callgrind.available():
        print("valgrind is not installed: nothing counted", file=sys.stderr)
        return 0
    print("instructions per operation")
    for row in rows:
        for name in row.subjects(names):
            try:
                count = f"{COUNT[type(row)](row, name):,.0f}"
            except runner.WorkerError as exc:
                count = f"error: {exc}"
            print(f"{row.key:32} {name:8} {count:>8}", flush=True)
    return 0


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _can_be_measured(row: Row) -> bool:
    """Tell whether all that a row needs is installed; say what is not."""
    missing = MISSING[type(row)](row) if type(row) in MISSING else []
    if missing:
        print(
            f"{row.key}: skipped, not installed: {', '.join(missing)}", file=sys.stderr
        )
    return not missing


def _measure(
    rows: Sequence[Row], names: Sequence[str], args: argparse.Namespace
) -> int:
    measured = {name for row in rows for name in row.subjects(names)}
    env = report.environment([name for name in names if name in measured])
    load_cpu = serving.other_core(args.cpu) if args.load_cpu is None else args.load_cpu

    def worker(key: str, name: str) -> runner.Figures:
        _progress(f"{key} on {name}")
        row = registry.get(key)
        options = {"seconds": args.seconds, "cpu": args.cpu}
        if not isinstance(row, Workload):
            options["load_cpu"] = load_cpu
        return MEASURE[type(row)](row, name, **options)

    results = runner.run_all(args.rounds, rows, names, worker)
    how = "median" if args.median else "best"
    _progress("")
    table = report.lines(rows, names, results, how)
    print(report.text(env, table, results, args.rounds, how), end="")
    if args.json:
        data = report.as_json(env, table, results, how)
        args.json.write_text(json.dumps(data, indent=2) + "\n")
    if args.rst:
        args.rst.write_text(report.rst(env, table, results, args.rounds, how))
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit status."""
    parser = _parser()
    args = parser.parse_args(argv)
    patterns = [*args.rows, args.callgrind] if args.callgrind else args.rows
    rows = registry.select(args.group, patterns)
    if args.callgrind is not None:
        rows = [row for row in rows if type(row) in COUNT]
    if not rows:
        parser.error("no such row: --list shows them")
    if args.list:
        _list(rows)
        return 0
    installed = loops.installed()
    names = args.loops or (installed if args.callgrind is None else [loops.OURS])
    missing = [name for name in names if name not in installed]
    if missing:
        parser.error(f"not installed: {', '.join(missing)}")
    rows = [row for row in rows if row.subjects(names) and _can_be_measured(row)]
    if not rows:
        return 0
    if args.callgrind is not None:
        return _callgrind(rows, names)
    return _measure(rows, names, args)


if __name__ == "__main__":
    sys.exit(main())
