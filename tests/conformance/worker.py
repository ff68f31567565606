"""List CPython's tests, or run those of one module, in a process of their own.

Reads one JSON object, the order, from standard input, and writes one JSON
object a line, an event, to the descriptor given as argument. See conftest.py.
"""

import faulthandler
import gc
import importlib.util
import json
import os
import sys
import traceback
import unittest

import test_cpython
from subject import Subject


def main():
    order = json.load(sys.stdin)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    events = int(sys.argv[1])
    os.set_inheritable(events, False)

    def emit(**event):
        os.write(events, json.dumps(event).encode() + b"\n")

    # A checkout with an extension built in place serves too.
    sys.path.append(order["path"])
    subject = Subject(**order["subject"])
    if not has_tests():
        emit(missing=True)
        return
    subject.install()
    test_cpython.adapt_shared(subject)
    if "module" in order:
        run(order, subject, emit)
    else:
        for module in filter(test_cpython.find, test_cpython.MODULES):
            emit(module=module, **listing(module, subject))
    emit(end=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # whatever thread a test has left


def has_tests():
    try:
        return importlib.util.find_spec(test_cpython.PACKAGE) is not None
    except ModuleNotFoundError:
        return False


def listing(module, subject):
    try:
        suite = test_cpython.load(module, subject)
    except unittest.SkipTest as reason:
        return {"skipped": str(reason)}
    except Exception:
        return {"error": traceback.format_exc()}
    return {"tests": [short_id(test) for test in suite]}


def run(order, subject, emit):
    wanted = set(order["tests"])
    suite = test_cpython.load(order["module"], subject)
    recorder = Recorder(subject, emit, order["test_limit"])
    # Subject.begin_test() collects garbage: what is loaded by now need not be
    # looked through before every test.
    gc.collect()
    gc.freeze()
    unittest.TestSuite(test for test in suite if short_id(test) in wanted).run(recorder)


def short_id(test):
    """Return ``module.Class.method``."""
    return ".".join(test.id().split(".")[-3:])


class Recorder(unittest.TestResult):
    """Tell the outcome of each test as soon as it is known."""

    RANK = ("passed", "skipped", "failed")  # of several, the worst counts

    def __init__(self, subject, emit, test_limit):
        super().__init__()
        self._subject, self._emit, self._test_limit = subject, emit, test_limit

    def startTest(self, test):
        super().startTest(test)
        self._subject.begin_test()
        self._outcome, self._detail = "passed", ""
        self._emit(start=short_id(test))
        faulthandler.dump_traceback_later(
            self._test_limit, exit=True, file=sys.__stderr__
        )

    def stopTest(self, test):
        faulthandler.cancel_dump_traceback_later()
        super().stopTest(test)
        if self._outcome == "passed":
            reason = self._subject.why_unused(test)
            if reason:
                self._outcome, self._detail = "unused", reason
        self._emit(stop=short_id(test), result=(self._outcome, self._detail))

    def _note(self, test, outcome, detail):
        if not isinstance(test, unittest.TestCase):  # setUpClass() and the like
            self._emit(fixture=str(test), result=(outcome, detail))
        elif self.RANK.index(outcome) > self.RANK.index(self._outcome):
            self._outcome, self._detail = outcome, detail

    def addError(self, test, err):
        self._note(test, "failed", self._exc_info_to_string(err, test))

    addFailure = addError

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.addError(test, err)

    def addUnexpectedSuccess(self, test):
        self._note(test, "failed", "unexpected success")

    def addSkip(self, test, reason):
        self._note(test, "skipped", reason)


if __name__ == "__main__":
    main()
