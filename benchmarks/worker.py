"""One measurement: one workload on one loop, in a process of its own.

``python -m benchmarks.worker LOOP GROUP/NAME`` prints a JSON object with the
operations made and the seconds they took.
"""

import argparse
import gc
import json
import os
from asyncio import AbstractEventLoop

from . import loops, registry, workloads  # noqa: F401 (registers the workloads)

# The first and shortest run, in operations; each next one is FACTOR times as
# long, until one lasts a tenth of the time asked for.
FIRST = 100
FACTOR = 4


def timed(row: registry.Workload, loop: AbstractEventLoop, count: int):
    """Run a workload once; return the operations made and the seconds taken."""
    stopwatch = registry.Stopwatch()
    operations = row.run(loop, count, stopwatch)
    return operations, stopwatch.elapsed


def calibrate(row: registry.Workload, loop: AbstractEventLoop, seconds: float) -> int:
    """Return how many operations take about *seconds*; warms the code up too."""
    count = FIRST
    while True:
        operations, elapsed = timed(row, loop, count)
        if elapsed >= seconds / 10:
            return max(1, round(operations / elapsed * seconds))
        count *= FACTOR


def measure(
    row: registry.Workload, name: str, *, seconds: float, count: int | None = None
) -> dict[str, float]:
    """Measure a workload on a new loop of the package *name*.

    The measurement lasts about *seconds*, or makes about *count* operations.
    """
    loop = loops.new_event_loop(name)
    try:
        if count is None:
            count = calibrate(row, loop, seconds)
        else:
            timed(row, loop, FIRST)
        gc.collect()
        operations, elapsed = timed(row, loop, count)
    finally:
        loop.close()
    return {"operations": operations, "seconds": elapsed}


def main(argv: list[str] | None = None) -> None:
    """Measure what the command line says and print the outcome."""
    parser = argparse.ArgumentParser(prog="benchmarks.worker")
    parser.add_argument("loop")
    parser.add_argument("row", type=registry.get)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--count", type=int)
    parser.add_argument("--cpu", type=int)
    args = parser.parse_args(argv)
    if args.cpu is not None:
        os.sched_setaffinity(0, {args.cpu})
    outcome = measure(args.row, args.loop, seconds=args.seconds, count=args.count)
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
