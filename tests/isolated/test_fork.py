"""A loop after fork: the child gets a usable one, the parent's is untouched."""

import pytest

# Forking with a pool's idle thread alive is what these cases are about.
OPTIONS = ("-W", "ignore::DeprecationWarning")


@pytest.mark.parametrize(
    "case",
    [
        "new_loop_in_child",
        "fork_while_running",
        "run_in_child",
        "child_closes_the_inherited_loop",
        "child_removes_a_reader",
        "child_uses_the_inherited_loop",
        "signals_after_fork",
    ],
)
def test_fork(run_script, case):
    run_script("fork", case, options=OPTIONS)
