"""Run each test several times in one process, and fail those that leak.

    python tools/refleak.py tests/unit

Needs a debug build of Python, for sys.gettotalrefcount(). The arguments are
pytest's. A test leaks if every run leaves more references than the one before,
after the first runs have filled all caches. Some caches take long: what seems
to leak in a few runs is run many times more. Tests of asyncio's own loop are
left out.
"""

import gc
import itertools
import re
import sys
import warnings
from array import array

import pytest
from _pytest.runner import runtestprotocol

ROUNDS = ((3, 3), (20, 20))  # warm-ups, and the runs that are compared

# The interpreter's cache of attributes keeps their names.
clear_caches = (
    sys._clear_internal_caches if sys.version_info >= (3, 13) else sys._clear_type_cache
)


def is_over(finalizer):
    """Return whether a finalizer would finish a fixture that is finished."""
    fixture = getattr(getattr(finalizer, "func", None), "__self__", None)
    return isinstance(fixture, pytest.FixtureDef) and fixture.cached_result is None


def repeat(item, warm_ups, runs):
    """Return the last run's reports, and by how much each run grew.

    Of a test that does not pass, the growth is empty.
    """
    # An array, for to keep objects would be to leak them.
    counts = array("q", [0] * (warm_ups + runs))
    for run in range(len(counts)):
        # As if a test of the same parent came next: what it has set up stays.
        # Pytest would keep the warnings, and so what they are about.
        with warnings.catch_warnings(record=True):
            reports = runtestprotocol(item, log=False, nextitem=item.parent)
        if not all(report.passed for report in reports):
            return reports, []
        forget(item)
        clear_caches()
        re.purge()
        gc.collect()
        counts[run] = sys.gettotalrefcount()
    compared = itertools.pairwise(counts[warm_ups - 1 :])
    return reports, [after - before for before, after in compared]


def forget(item):
    """Drop what pytest keeps of each run: output, and finished finalizers."""
    item._report_sections.clear()
    for fixtures in item._fixtureinfo.name2fixturedefs.values():
        for fixture in fixtures:
            fixture._finalizers[:] = itertools.filterfalse(is_over, fixture._finalizers)


class RefLeaks:
    """The pytest plugin."""

    def pytest_collection_modifyitems(self, config, items):
        stock = [item for item in items if self._is_stock(item)]
        if stock:
            config.hook.pytest_deselected(items=stock)
            items[:] = [item for item in items if item not in stock]

    @staticmethod
    def _is_stock(item):
        callspec = getattr(item, "callspec", None)
        return callspec is not None and "asyncio" in callspec.id.split("-")

    def pytest_runtest_protocol(self, item, nextitem):
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for warm_ups, runs in ROUNDS:
            reports, grown = repeat(item, warm_ups, runs)
            if not grown or min(grown) <= 0:
                break
        else:
            call = next(report for report in reports if report.when == "call")
            call.outcome = "failed"
            call.longrepr = f"leaked {grown} references"
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.session._setupstate.teardown_exact(nextitem)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True


def main():
    if not hasattr(sys, "gettotalrefcount"):
        sys.exit("refleak: this is no debug build of Python")
    args = [*sys.argv[1:], "-p", "no:cacheprovider"]
    return pytest.main(args, plugins=[RefLeaks()])


if __name__ == "__main__":
    sys.exit(main())
