"""Flow control of a stream transport: limits, pause_writing(), resume_writing()."""

import sys

import pytest

from tests.unit.transport_helpers import (
    BIG,
    CONTEXT_KEYS,
    Recorder,
    at_once,
    drained,
    in_callback,
    linked,
    run_until,
    turns,
)

HIGH, LOW = 64 * 1024, 16 * 1024


@pytest.fixture
def links(loop):
    with linked(loop) as links:
        yield links


def flow(protocol):
    """Return what a protocol was told of writing."""
    return [call for call in protocol.calls if call.endswith("_writing")]


def read_until(loop, peer, condition):
    """Run a loop and read what comes to the peer until a condition holds."""

    def holds():
        at_once(peer)
        return condition()

    run_until(loop, holds)


# The limits


@pytest.mark.parametrize(
    ("arguments", "limits"),
    [
        ({}, (LOW, HIGH)),
        ({"high": 100}, (25, 100)),
        ({"high": 3}, (0, 3)),
        ({"low": 100}, (100, 400)),
        ({"high": 100, "low": 50}, (50, 100)),
        ({"high": 100, "low": 100}, (100, 100)),
        ({"high": 100, "low": 0}, (0, 100)),
        ({"high": 0}, (0, 0)),
        ({"low": 0}, (0, 0)),
        ({"high": 0, "low": 0}, (0, 0)),
        ({"high": None, "low": None}, (LOW, HIGH)),
        ({"high": 1 << 40}, (1 << 38, 1 << 40)),
    ],
    ids=str,
)
def test_limits(links, arguments, limits):
    transport, _ = links.connect()
    assert transport.get_write_buffer_limits() == (LOW, HIGH)
    transport.set_write_buffer_limits(high=7, low=5)
    assert transport.set_write_buffer_limits(**arguments) is None
    assert transport.get_write_buffer_limits() == limits


def test_limits_by_position(links):
    transport, _ = links.connect()
    transport.set_write_buffer_limits(100, 10)
    assert transport.get_write_buffer_limits() == (10, 100)


@pytest.mark.parametrize(
    ("high", "low", "shown"),
    [
        (10, 11, (10, 11)),
        (-1, None, (-1, -1)),
        (None, -1, (-4, -1)),
        (0, 1, (0, 1)),
        (5, -1, (5, -1)),
    ],
)
def test_limits_refused(links, high, low, shown):
    transport, _ = links.connect()
    text = r"^high \({}\) must be >= low \({}\) must be >= 0$".format(*shown)
    with pytest.raises(ValueError, match=text):
        transport.set_write_buffer_limits(high, low)
    assert transport.get_write_buffer_limits() == (LOW, HIGH)


@pytest.mark.parametrize("limits", [("1", None), (None, "1"), (object(), 1)], ids=str)
def test_limits_of_other_types(links, limits):
    transport, _ = links.connect()
    with pytest.raises(TypeError):
        transport.set_write_buffer_limits(*limits)
    assert transport.get_write_buffer_limits() == (LOW, HIGH)


# When writing is paused, and when it goes on


@pytest.mark.parametrize("high", [0, 1, 10, 1000, None])
def test_pause_is_above_the_high_limit(links, high):
    protocol = Recorder()
    transport, _ = links.blocked(protocol)
    transport.set_write_buffer_limits(high)
    transport.write(b"x" * (HIGH if high is None else high))
    assert flow(protocol) == []
    transport.write(b"x")
    assert flow(protocol) == ["pause_writing"]
    transport.write(b"x" * 100)
    assert flow(protocol) == ["pause_writing"]


def test_pause_is_told_inside_write(links, loop):
    """A callback that writes too much knows it when write() returns."""
    protocol = Recorder()
    transport, _ = links.connect(protocol)

    def write():
        for _ in range(100):
            transport.write(b"x" * 65536)
            if flow(protocol):
                return True
        return False

    assert in_callback(loop, write)
    assert transport.get_write_buffer_size() > HIGH


def test_no_pause_for_what_is_sent_at_once(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.set_write_buffer_limits(high=0)
    transport.write(b"x")
    in_callback(loop, transport.write, b"x")
    turns(loop, 2)
    assert at_once(peer) == b"xx"
    assert flow(protocol) == []


@pytest.mark.parametrize(("high", "low"), [(1000, 10), (1000, 0), (0, 0), (1000, 1000)])
def test_resume(links, loop, high, low):
    sizes = []
    protocol = Recorder(
        resume_writing=lambda self: sizes.append(self.transport.get_write_buffer_size())
    )
    transport, peer = links.blocked(protocol)
    transport.set_write_buffer_limits(high, low)
    transport.write(b"x" * BIG)
    turns(loop, 3)
    assert flow(protocol) == ["pause_writing"]
    transport.write(b"x")
    read_until(loop, peer, lambda: len(flow(protocol)) > 1)
    assert flow(protocol) == ["pause_writing", "resume_writing"]
    assert sizes[0] <= low
    read_until(loop, peer, lambda: transport.get_write_buffer_size() == 0)
    assert flow(protocol) == ["pause_writing", "resume_writing"]


def test_pause_and_resume_take_turns(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    for round in range(1, 4):
        transport.write(b"x" * BIG)
        assert flow(protocol)[-1] == "pause_writing"
        assert drained(loop, peer, BIG) == b"x" * BIG
        run_until(loop, lambda: flow(protocol)[-1] == "resume_writing")
        assert flow(protocol) == ["pause_writing", "resume_writing"] * round


def test_lower_limits_pause(links):
    protocol = Recorder()
    transport, _ = links.blocked(protocol)
    transport.write(b"x" * 100)
    transport.set_write_buffer_limits(high=100)
    assert flow(protocol) == []
    transport.set_write_buffer_limits(high=99)
    assert flow(protocol) == ["pause_writing"]
    transport.set_write_buffer_limits(high=98)
    assert flow(protocol) == ["pause_writing"]


def test_higher_limits_resume_not_before_something_is_sent(links, loop):
    protocol = Recorder()
    transport, peer = links.blocked(protocol)
    transport.set_write_buffer_limits(high=0)
    transport.write(b"x" * 100)
    assert flow(protocol) == ["pause_writing"]
    transport.set_write_buffer_limits(high=1000, low=500)
    turns(loop, 3)
    assert flow(protocol) == ["pause_writing"]
    read_until(loop, peer, lambda: len(flow(protocol)) > 1)
    assert flow(protocol) == ["pause_writing", "resume_writing"]


@pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 14), reason="writelines() does not pause"
)
def test_lines_pause(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.writelines([b"x" * BIG, b"y"])
    assert flow(protocol) == ["pause_writing"]
    assert drained(loop, peer, BIG + 1) == b"x" * BIG + b"y"
    run_until(loop, lambda: len(flow(protocol)) == 2)


# From inside, and towards the end


def test_write_in_pause_writing(links, loop):
    protocol = Recorder(pause_writing=lambda self: self.transport.write(b"more"))
    transport, peer = links.blocked(protocol)
    transport.write(b"x" * (HIGH + 1))
    assert flow(protocol) == ["pause_writing"]
    assert transport.get_write_buffer_size() == HIGH + 5
    transport.close()
    assert drained(loop, peer).lstrip(b"f") == b"x" * (HIGH + 1) + b"more"


def test_write_in_resume_writing(links, loop):
    """What resume_writing() writes may pause the protocol again."""
    left = [3]

    def resume(self):
        if left[0]:
            left[0] -= 1
            self.transport.write(b"x" * BIG)
        else:
            self.transport.close()

    protocol = Recorder(resume_writing=resume)
    transport, peer = links.connect(protocol)
    transport.write(b"x" * BIG)
    assert drained(loop, peer) == b"x" * BIG * 4
    run_until(loop, lambda: protocol.lost)
    assert flow(protocol) == ["pause_writing", "resume_writing"] * 4


def test_resume_goes_to_the_protocol_of_the_day(links, loop):
    first, second = Recorder(), Recorder()
    transport, peer = links.connect(first)
    transport.write(b"x" * BIG)
    transport.set_protocol(second)
    drained(loop, peer, BIG)
    run_until(loop, lambda: second.calls)
    assert flow(first) == ["pause_writing"]
    assert flow(second) == ["resume_writing"]


def test_resume_while_closing(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.write(b"x" * BIG)
    transport.close()
    assert drained(loop, peer) == b"x" * BIG
    run_until(loop, lambda: protocol.lost)
    assert protocol.calls == [
        "connection_made",
        "pause_writing",
        "resume_writing",
        "connection_lost",
    ]


def test_no_resume_after_abort(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.write(b"x" * BIG)
    transport.abort()
    drained(loop, peer)
    turns(loop, 3)
    assert protocol.calls == ["connection_made", "pause_writing", "connection_lost"]


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("when", ["pause_writing", "resume_writing"])
def test_end_in_flow_control(links, loop, end, when):
    protocol = Recorder(**{when: lambda self: getattr(self.transport, end)()})
    transport, peer = links.connect(protocol)
    transport.write(b"x" * BIG)
    received = drained(loop, peer)
    run_until(loop, lambda: protocol.lost)
    if end == "close" or when == "resume_writing":
        expected = ["pause_writing", "resume_writing"]
    else:
        expected = ["pause_writing"]
    assert flow(protocol) == expected
    if end == "close":
        assert received == b"x" * BIG
    else:
        assert received == b"x" * len(received)
    assert protocol.lost == [None]


@pytest.mark.parametrize("when", ["pause_writing", "resume_writing"])
def test_flow_control_that_raises(links, loop, reported, when):
    """It is reported, and the transport goes on."""
    contexts = reported(loop)
    error = ZeroDivisionError(when)

    def fail(self):
        raise error

    protocol = Recorder(**{when: fail})
    transport, peer = links.connect(protocol)
    transport.write(b"x" * BIG)
    assert drained(loop, peer, BIG) == b"x" * BIG
    run_until(loop, lambda: contexts and len(flow(protocol)) == 2)
    (context,) = contexts
    assert context["message"] == f"protocol.{when}() failed"
    assert context["exception"] is error
    assert context["transport"] is transport
    assert context["protocol"] is protocol
    assert set(context) == CONTEXT_KEYS
    assert not transport.is_closing()
    transport.write(b"y")
    assert drained(loop, peer, 1) == b"y"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_pause_writing_that_ends_the_program(links, error):
    def fail(self):
        raise error

    protocol = Recorder(pause_writing=fail)
    transport, _ = links.blocked(protocol)
    with pytest.raises(error):
        transport.write(b"x" * (HIGH + 1))
    assert not transport.is_closing()


def test_set_limits_in_pause_writing(links, loop):
    protocol = Recorder(
        pause_writing=lambda self: self.transport.set_write_buffer_limits(low=BIG)
    )
    transport, peer = links.blocked(protocol)
    transport.write(b"x" * BIG)
    assert transport.get_write_buffer_limits() == (BIG, 4 * BIG)
    read_until(loop, peer, lambda: len(flow(protocol)) > 1)
    assert flow(protocol) == ["pause_writing", "resume_writing"]


def test_pause_and_resume_reading_are_apart_from_writing(links, loop):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    transport.write(b"x" * BIG)
    peer.send(b"y")
    run_until(loop, lambda: protocol.data)
    transport.pause_reading()
    assert drained(loop, peer, BIG) == b"x" * BIG
    run_until(loop, lambda: len(flow(protocol)) == 2)
    assert not transport.is_reading()
