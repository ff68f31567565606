"""accept() that fails, whatever the reason: made to fail by a filter of the kernel."""

import errno
import json
import os
import platform
import subprocess
import sys
import textwrap

import pytest

from tests.unit.transport_helpers import DEADLINE

# The number of accept4().
NUMBERS = {"x86_64": 288, "aarch64": 242}

PROGRAM = """
    import asyncio, ctypes, json, os, socket, struct, sys

    kind, number, error, wanted, deadline = sys.argv[1], *map(int, sys.argv[2:])
    if kind == "evloop":
        import evloop
        loop = evloop.new_event_loop()
    else:
        loop = asyncio.SelectorEventLoop()
    contexts, served = [], []

    def refuse_accept():
        '''Have accept4() fail from now on, in this process.'''
        libc = ctypes.CDLL(None, use_errno=True)
        code = b"".join(
            struct.pack("HBBI", *instruction)
            for instruction in [
                (0x20, 0, 0, 0),  # load the number of the call
                (0x15, 0, 1, number),  # is it accept4()?
                (0x06, 0, 0, 0x00050000 | error),  # then this error
                (0x06, 0, 0, 0x7FFF0000),  # else let it be
            ]
        )
        held = ctypes.create_string_buffer(code, len(code))
        filter = ctypes.create_string_buffer(
            struct.pack("HxxxxxxP", 4, ctypes.addressof(held))
        )
        if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, filter, 0, 0):
            print(json.dumps({"refused": os.strerror(ctypes.get_errno())}))
            raise SystemExit

    class Protocol(asyncio.Protocol):
        def connection_made(self, transport):
            served.append(transport)

    async def main():
        server = await loop.create_server(Protocol, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        refuse_accept()
        client = socket.create_connection(address)
        while len(begun) < wanted:
            turn[0] += 1
            await asyncio.sleep(0.001)
        # asyncio may begin again after close(), and fail at that.
        loop.set_exception_handler(lambda *_: None)
        client.close()
        server.close()
        await server.wait_closed()

    def report(loop, context):
        contexts.append(context)
        # asyncio tries more than once in a turn, and may report each time.
        begun.setdefault(turn[0], loop.time())

    turn, begun = [0], {}
    loop.set_exception_handler(report)
    loop.run_until_complete(asyncio.wait_for(main(), deadline))
    loop.close()
    times = list(begun.values())
    print(json.dumps({
        "messages": sorted({context["message"].split("(")[0] for context in contexts}),
        "errors": sorted({context["exception"].errno for context in contexts}),
        "keys": sorted(set().union(*contexts)),
        "paused": min(b - a for a, b in zip(times, times[1:])) > 0.9,
        "served": len(served),
    }))
"""


def outcome(kind, error, reports):
    """Return how a server takes it, seen in so many turns that report it."""
    number = NUMBERS.get(platform.machine())
    if number is None:
        pytest.skip("the number of accept4() is not known here")
    program = textwrap.dedent(PROGRAM)
    arguments = [kind, *map(str, (number, error, reports, int(DEADLINE)))]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    if "refused" in seen:
        pytest.skip(f"no filter of system calls: {seen['refused']}")
    return seen


@pytest.mark.parametrize("kind", ["asyncio", "evloop"])
@pytest.mark.parametrize("name", ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"])
def test_out_of_resources(kind, name):
    """The server pauses for a second, and begins again."""
    assert outcome(kind, getattr(errno, name), 2) == {
        "messages": ["socket.accept"],
        "errors": [getattr(errno, name)],
        "keys": ["exception", "message", "socket"],
        "paused": True,
        "served": 0,
    }


@pytest.mark.parametrize("kind", ["asyncio", "evloop"])
@pytest.mark.parametrize("name", ["EPERM", "EPROTO", "ENETDOWN"])
def test_other_errors(kind, name):
    """Each is reported, as what a reader raises; the server goes on."""
    assert outcome(kind, getattr(errno, name), 6) == {
        "messages": ["Exception in callback BaseSelectorEventLoop._accept_connection"],
        "errors": [getattr(errno, name)],
        "keys": ["exception", "handle", "message"],
        "paused": False,
        "served": 0,
    }
