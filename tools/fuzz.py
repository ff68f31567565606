"""Run the model test on evloop with many random sequences of operations.

    python tools/fuzz.py [examples]

The test suite runs a few, the same ones each time; here they are new ones. A
failure prints the shortest sequence that was found for it.
"""

import argparse
import runpy
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

MODEL = Path(__file__).parent.parent / "tests" / "hostile" / "test_model.py"
STEPS = 100  # in a sequence


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("examples", type=int, nargs="?", default=2000)
    examples = parser.parse_args().examples
    machine = runpy.run_path(str(MODEL))["EvloopMachine"]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=STEPS,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"fuzz: {examples} sequences of up to {STEPS} operations, as the model says")


if __name__ == "__main__":
    main()
