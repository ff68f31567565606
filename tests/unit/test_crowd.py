"""When a loop looks for events again after it has seen many at once."""

import asyncio
import socket
import time

import pytest

# More events at once than evloop takes for a crowd.
CROWD = 16

# Tries until the coarse clock does not tick at the wrong moment.
TRIES = 200

# Linux's CLOCK_MONOTONIC_COARSE, which ticks every 1 to 10 ms.
COARSE = 6


def coarse():
    return time.clock_gettime(COARSE)


@pytest.fixture
def pairs():
    """Make socket pairs; they are closed in the end."""
    made = []

    def make():
        made.append(socket.socketpair())
        return made[-1]

    yield make
    for pair in made:
        for sock in pair:
            sock.close()


@pytest.fixture
def crowds(pairs):
    """Make events: *size* pairs of sockets, one of each readable, and one not yet."""
    ready, late = [pairs() for _ in range(CROWD)], pairs()

    def make(size):
        for _, peer in ready[:size]:
            peer.send(b"x")
        return [sock for sock, _ in ready[:size]], *late

    return make


def seen(loop, crowd, meanwhile=lambda note: None):
    """Return what ran in which order, after all events of a crowd in one turn.

    Each event schedules "first", and that "second". The first event also causes the
    event "late", and calls *meanwhile* with what notes things. "tick" stands behind
    them if the coarse clock ticked before the first "first".
    """
    socks, late, cause = crowd
    ran = []
    ticks = set()

    def note(what):
        ran.append(what)
        if "late" in ran and ran.count("second") == len(socks):
            loop.stop()

    def on_late():
        loop.remove_reader(late)
        late.recv(1)
        note("late")

    def first():
        if "first" not in ran:
            ticks.add(coarse())
        note("first")
        loop.call_soon(note, "second")

    def on_event(sock):
        loop.remove_reader(sock)
        sock.recv(1)
        if "event" not in ran:
            cause.send(b"x")
            meanwhile(note)
        note("event")
        loop.call_soon(first)

    loop.add_reader(late, on_late)
    for sock in socks:
        loop.add_reader(sock, on_event, sock)
    guard = loop.call_later(30, loop.stop)
    ticks.add(coarse())
    loop.run_forever()
    guard.cancel()
    assert ran.count("event") == ran.count("second") == len(socks)
    return ran if len(ticks) == 1 else [*ran, "tick"]


def seen_without_a_tick(loop, crowds, size):
    for _ in range(TRIES):
        ran = seen(loop, crowds(size))
        if "tick" not in ran:
            return ran
    pytest.skip("the coarse clock ticks all the time")


def test_few_events(loop, crowds):
    assert seen(loop, crowds(1))[:4] == ["event", "first", "late", "second"]


def test_what_many_events_scheduled_comes_before_the_next(evloop_loop, crowds):
    ran = seen_without_a_tick(evloop_loop, crowds, CROWD)
    assert ran.index("late") > ran.index("second")


def test_asyncio_looks_in_between(crowds):
    loop = asyncio.SelectorEventLoop()
    try:
        ran = seen(loop, crowds(CROWD))
    finally:
        loop.close()
    assert ran.index("late") < ran.index("second")


def test_looks_at_once_after_a_long_turn(loop, crowds):
    def until_it_ticks(_):
        began = coarse()
        while coarse() == began:
            pass

    ran = seen(loop, crowds(CROWD), until_it_ticks)
    assert ran.index("late") < ran.index("second")


def test_looks_at_once_for_a_new_reader(loop, crowds, pairs):
    sock, peer = pairs()
    peer.send(b"x")

    def on_new(note):
        loop.remove_reader(sock)
        note("new")

    ran = seen(loop, crowds(CROWD), lambda note: loop.add_reader(sock, on_new, note))
    assert ran.index("new") < ran.index("second")


# The first is due soon when it is set, the others are not.
@pytest.mark.parametrize("delay", [0, 0.0003, 0.0006])
def test_events_come_before_due_timers(loop, crowds, delay):
    def meanwhile(note):
        timer = loop.call_later(delay, note, "timer")
        while loop.time() <= timer.when():
            pass

    ran = seen(loop, crowds(CROWD), meanwhile)
    assert ran.index("late") < ran.index("timer") < ran.index("second")


def test_looks_before_it_stops(loop, crowds):
    socks, late, cause = crowds(CROWD)
    ran = []
    loop.add_reader(late, ran.append, "late")
    for sock in socks:
        loop.add_reader(sock, loop.remove_reader, sock)
    loop._run_once()
    cause.send(b"x")
    loop.stop()
    loop._run_once()
    loop.remove_reader(late)
    assert ran == ["late"]
