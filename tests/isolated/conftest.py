"""Run a script of this folder's ``scripts`` in an interpreter of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent / "scripts"


@pytest.fixture
def run_script():
    """A function that runs a script and returns what it printed.

    ``run_script(name, *arguments)`` fails the test unless the script ends with
    status 0 within *timeout* seconds. *options* are the interpreter's. With
    ``stderr=True`` returns what the script wrote there instead.
    """

    def run(name, *args, options=(), stderr=False, timeout=60):
        command = [sys.executable, "-X", "faulthandler", *options]
        command += [SCRIPTS / f"{name}.py", *map(str, args)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, f"{done.returncode}\n{done.stdout}{done.stderr}"
        return done.stderr if stderr else done.stdout

    return run
