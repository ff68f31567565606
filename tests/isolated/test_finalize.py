"""Interpreters that end with loops about, and subinterpreters."""

import sys

import pytest


@pytest.mark.parametrize(
    "case",
    [
        "pending_callbacks",
        "pending_task",
        "watched_descriptors",
        "daemon_thread",
        "busy_daemon_thread",
        "signal_handlers",
        "handles_only",
        "running_at_exit",
        "exit_inside_a_callback",
        "used_in_atexit",
        "closed_in_del",
        "executor_busy",
        "modules_gone",
        "timer_of_the_program",
        "handles_outlive_the_module",
    ],
)
@pytest.mark.parametrize("mode", ["plain", "dev"])
def test_end_of_the_interpreter(run_script, case, mode):
    options = ("-X", "dev") if mode == "dev" else ()
    assert run_script("finalize", case, options=options) == ""


def test_subinterpreters(run_script):
    run_script("interpreters", "default" if sys.version_info < (3, 13) else "legacy")


@pytest.mark.skipif(sys.version_info < (3, 13), reason="_asyncio: since Python 3.13")
def test_isolated_subinterpreters(run_script):
    run_script("interpreters", "isolated")
