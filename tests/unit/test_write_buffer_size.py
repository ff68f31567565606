"""What waits to be sent is counted: at no cost, and for writelines(), too."""

import time

import pytest

from tests.unit.transport_helpers import BIG, Recorder, drained, linked, run_until

FEW, MANY = 10, 100_000
# Adding up the pieces would cost MANY / FEW times as much.
ALIKE = 100


@pytest.fixture
def links(evloop_loop):
    with linked(evloop_loop) as links:
        yield links


def cost(transport):
    """Return the least time in seconds that a hundred calls have taken."""
    times = []
    for _ in range(5):
        begun = time.thread_time()
        for _ in range(100):
            transport.get_write_buffer_size()
        times.append(time.thread_time() - begun)
    return min(times)


def blocked(links, pieces):
    transport, _ = links.blocked()
    for _ in range(pieces):
        transport.write(b"x")
    assert transport.get_write_buffer_size() == pieces
    return transport


def test_cost(links):
    """In asyncio it grows with the number of pieces from Python 3.12 on."""
    few, many = (cost(blocked(links, pieces)) for pieces in (FEW, MANY))
    assert many < few * ALIKE


def test_lines_pause(links, evloop_loop):
    """asyncio's writelines() does not look at the limits on Python 3.12 and 3.13."""
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.writelines([b"x" * BIG, b"y"])
    assert transport.get_write_buffer_size() > 0
    assert protocol.calls == ["connection_made", "pause_writing"]
    assert drained(evloop_loop, peer, BIG + 1) == b"x" * BIG + b"y"
    run_until(evloop_loop, lambda: protocol.calls[2:] == ["resume_writing"])
