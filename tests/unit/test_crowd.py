"""When a loop looks for events again after it has seen many at once."""

import asyncio
import socket
import time

import pytest

# Of this many events at once evloop says that they are a crowd.
CROWD = 16

# Linux's CLOCK_MONOTONIC_COARSE, which ticks every 1 to 10 ms.
COARSE = 6


def coarse():
    return time.clock_gettime(COARSE)


@pytest.fixture
def pairs():
    made = []

    def make():
        made.append(socket.socketpair())
        return made[-1]

    yield make
    for pair in made:
        for sock in pair:
            sock.close()


def seen(loop, pairs, size, meanwhile=lambda: None):
    """Return what ran in which order, after *size* events in one turn.

    Each event schedules "first", and that "second". The first event also causes the
    event "late", and calls *meanwhile*.
    """
    ran = []
    late, cause = pairs()

    def note(what):
        ran.append(what)
        if "late" in ran and ran.count("second") == size:
            loop.stop()

    def on_late():
        loop.remove_reader(late)
        note("late")

    def first():
        note("first")
        loop.call_soon(note, "second")

    def on_event(sock):
        loop.remove_reader(sock)
        if "event" not in ran:
            cause.send(b"x")
            meanwhile()
        note("event")
        loop.call_soon(first)

    loop.add_reader(late, on_late)
    for _ in range(size):
        sock, peer = pairs()
        loop.add_reader(sock, on_event, sock)
        peer.send(b"x")
    guard = loop.call_later(30, loop.stop)
    loop.run_forever()
    guard.cancel()
    assert ran.count("event") == ran.count("second") == size
    return ran


def test_few_events(loop, pairs):
    assert seen(loop, pairs, 1) == ["event", "first", "late", "second"]


def test_what_many_events_scheduled_comes_before_the_next(evloop_loop, pairs):
    times = []
    while len(set(times)) != 1:  # a tick in between makes it look
        times.clear()
        ran = seen(evloop_loop, pairs, CROWD, lambda: times.append(coarse()))
        times.append(coarse())
    assert ran.index("late") > ran.index("second")


def test_asyncio_looks_in_between(pairs):
    loop = asyncio.SelectorEventLoop()
    try:
        ran = seen(loop, pairs, CROWD)
    finally:
        loop.close()
    assert ran.index("late") < ran.index("second")


def test_looks_at_once_after_a_long_turn(loop, pairs):
    def until_it_ticks():
        began = coarse()
        while coarse() == began:
            pass

    ran = seen(loop, pairs, CROWD, until_it_ticks)
    assert ran.index("late") < ran.index("second")


def test_looks_at_once_for_a_new_reader(loop, pairs):
    sock, peer = pairs()
    peer.send(b"x")
    added = []

    def on_new():
        loop.remove_reader(sock)
        added.append("seen")

    def meanwhile():
        loop.add_reader(sock, on_new)
        loop.call_soon(loop.call_soon, added.append, "turn after")

    seen(loop, pairs, CROWD, meanwhile)
    assert added == ["seen", "turn after"]


def test_timers_do_not_wait(loop, pairs):
    ran = []
    timer = loop.call_later(0.001, ran.append, "timer")

    def meanwhile():
        while loop.time() <= timer.when():
            pass
        loop.call_soon(ran.append, "next turn")
        loop.call_soon(loop.call_soon, ran.append, "turn after")

    seen(loop, pairs, CROWD, meanwhile)
    assert ran == ["next turn", "timer", "turn after"]


def test_stop_looks_once_more(loop, pairs):
    late, cause = pairs()
    ran = []
    loop.add_reader(late, ran.append, "late")

    def on_event(sock):
        loop.remove_reader(sock)
        cause.send(b"x")
        loop.stop()

    for _ in range(CROWD):
        sock, peer = pairs()
        loop.add_reader(sock, on_event, sock)
        peer.send(b"x")
    loop.run_forever()
    assert ran == []
    loop.stop()
    loop.run_forever()
    loop.remove_reader(late)
    assert ran == ["late"]
