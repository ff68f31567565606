"""The fuzz target of TLS finds nothing, and would find something."""

import asyncio
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import evloop

TOOLS = Path(__file__).parent.parent.parent / "tools"

SEEDS = 40
# An upper bound in seconds, for the slowest of builds.
PATIENCE = 500


@pytest.fixture
def program(monkeypatch):
    """The module with the programs that seeds stand for."""
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("fuzz_tls_program")


@pytest.mark.parametrize("engine", ["direct", "portable"])
def test_finds_nothing(engine):
    if engine == "direct" and evloop.tls_engine()[0] != "direct":
        pytest.skip(f"no direct engine: {evloop.tls_engine()[1]}")
    command = [sys.executable, TOOLS / "fuzz_tls.py", "--engine", engine]
    done = subprocess.run(
        [*command, "--count", str(SEEDS)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{SEEDS} passed, 0 failed" in done.stdout


def test_a_seed_is_one_program(program):
    """Run again, it comes to the same."""
    for seed in range(10):
        outcomes = [
            program.run_program(asyncio.SelectorEventLoop, seed) for _ in range(2)
        ]
        assert outcomes[0] == outcomes[1]


def loses_a_byte(protocol):
    received = protocol.data_received
    protocol.data_received = lambda data: received(data[1:])


def turns_bytes_round(protocol):
    received = protocol.data_received
    protocol.data_received = lambda data: received(data[::-1])


def tells_twice_of_the_end(protocol):
    lost = protocol.connection_lost
    protocol.connection_lost = lambda exc: (lost(exc), lost(exc))


def goes_on_after_the_end(protocol):
    lost = protocol.connection_lost
    protocol.connection_lost = lambda exc: (lost(exc), protocol.eof_received())


def raises(protocol):
    def data_received(data):
        raise SystemError

    protocol.data_received = data_received


@pytest.mark.parametrize(
    "damage",
    [
        loses_a_byte,
        turns_bytes_round,
        tells_twice_of_the_end,
        goes_on_after_the_end,
        raises,
    ],
)
def test_finds_what_is_wrong(program, damage):
    """A loop that does such a thing to protocols is found out by some seed."""

    class Damaging(asyncio.SelectorEventLoop):
        def damaged(self, factory):
            protocol = factory()
            if isinstance(protocol, asyncio.Protocol):
                damage(protocol)
            return lambda: protocol

        async def create_connection(self, factory, **settings):
            return await super().create_connection(self.damaged(factory), **settings)

        async def connect_accepted_socket(self, factory, *args, **settings):
            return await super().connect_accepted_socket(
                self.damaged(factory), *args, **settings
            )

    def is_found(seed):
        outcome = program.run_program(Damaging, seed)
        usual = program.run_program(asyncio.SelectorEventLoop, seed)
        assert usual.problems == []
        return outcome.problems or list(outcome.differences(usual))

    assert any(is_found(seed) for seed in range(SEEDS))
