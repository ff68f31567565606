"""What is written, and what is waited for, when one allocation fails."""

import asyncio
import contextlib
import os

import pytest

from tests.unit.socket_helpers import socket_pair
from tests.unit.transport_helpers import BIG, Recorder, linked, run_until, turns

_testcapi = pytest.importorskip("_testcapi")

# More than are needed by any of these.
ALLOCATIONS = range(40)

PIECES = [b"%04d" % number for number in range(20)]
WRITES = {
    "bytes": lambda transport: transport.write(b"-" * BIG),
    "bytearray": lambda transport: transport.write(bytearray(b"-" * BIG)),
    "view": lambda transport: transport.write(memoryview(b"-" * BIG)),
    "pieces": lambda transport: transport.writelines(PIECES),
}


def without(number, action):
    """Call *action* while that allocation fails; return whether it raised."""
    _testcapi.set_nomemory(number, number + 1)
    try:
        action()
    except MemoryError:
        return True
    finally:
        _testcapi.remove_mem_hooks()
    return False


@pytest.mark.parametrize("inside", [False, True], ids=["", "in a callback"])
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_nothing_follows_a_fragment(evloop_loop, write, inside):
    """What could not be kept is not sent at all, or it is the last that is sent."""
    loop = evloop_loop
    loop.set_exception_handler(lambda *_: None)
    whole = None
    with linked(loop) as links:
        for number in ALLOCATIONS[::-1]:
            protocol = Recorder()
            transport, peer = links.connect(protocol)
            outcome = []

            def attempt(transport=transport, number=number, outcome=outcome):
                outcome.append(without(number, lambda: write(transport)))

            if inside:
                loop.call_soon(attempt)
            else:
                attempt()
            turns(loop, 1)
            transport.write(b"next")
            transport.close()
            received = bytearray()

            def ended(peer=peer, received=received):
                peer.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while data := peer.recv(1 << 16):
                        received.extend(data)
                    return True
                return False

            run_until(loop, ended)
            run_until(loop, lambda protocol=protocol: protocol.lost)
            (raised,) = outcome
            if whole is None:
                assert not raised
                whole = bytes(received)
                assert whole.endswith(b"next") and len(whole) > 4
            elif received.endswith(b"next"):
                assert received == (b"next" if raised else whole)
            else:
                assert whole.startswith(received)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_nothing_follows_a_fragment_in_a_pipe(evloop_loop, pipe, kind):
    loop = evloop_loop
    loop.set_exception_handler(lambda *_: None)
    reading, writing = pipe
    os.set_blocking(reading.fileno(), False)
    data = kind(b"-" * BIG)
    for number in ALLOCATIONS[:10]:
        protocol = Recorder()
        with open(os.dup(writing.fileno()), "wb", 0) as end:
            transport, _ = loop.run_until_complete(
                loop.connect_write_pipe(lambda protocol=protocol: protocol, end)
            )
            raised = without(number, lambda t=transport: t.write(data))
            transport.write(b"next")
            transport.close()
            received = bytearray()
            while not protocol.lost:
                turns(loop, 1)
                received += reading.read(1 << 20) or b""
        if received.endswith(b"next"):
            assert received == (b"next" if raised else b"-" * BIG + b"next")
        else:
            assert set(received) <= {ord("-")}


def test_edges_behind_an_error(loop, turn):
    """Who waits for an event is told of it, though the one before could not be."""
    raised = 0
    with contextlib.ExitStack() as stack:
        pairs = [stack.enter_context(socket_pair()) for _ in range(150)]
        for number in ALLOCATIONS[:10]:
            one, two = stack.enter_context(socket_pair())
            task = loop.create_task(loop.sock_recv(one, 10))
            turn(loop)
            for mine, _ in pairs:
                loop.add_reader(mine, mine.recv, 10)

            def begin(number=number, two=two):
                for _, peer in pairs:
                    peer.send(b"x")
                two.send(b"awaited")
                loop.call_soon(loop.stop)
                _testcapi.set_nomemory(number, number + 1)

            loop.call_soon(begin)
            try:
                loop.run_forever()
            except MemoryError:
                raised += 1
            finally:
                _testcapi.remove_mem_hooks()
            for mine, _ in pairs:
                loop.remove_reader(mine)
                with contextlib.suppress(BlockingIOError):
                    mine.recv(10)
            turn(loop)
            assert loop.run_until_complete(asyncio.wait_for(task, 30)) == b"awaited"
    assert raised
