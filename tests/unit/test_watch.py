"""add_reader, add_writer and their removal: descriptors of every kind."""

import asyncio
import gc
import os
import socket
import subprocess
import sys
import textwrap
import weakref

import pytest

DIRECTIONS = ["reader", "writer"]


class Pair:
    """A connected pair of sockets and a loop that watches the first of them."""

    def __init__(self, loop):
        self.loop = loop
        self.mine, self.peer = socket.socketpair()
        for sock in (self.mine, self.peer):
            sock.setblocking(False)
        self.fd = self.mine.fileno()

    def close(self):
        if not self.loop.is_closed():
            self.loop._remove_reader(self.fd)
            self.loop._remove_writer(self.fd)
        self.mine.close()
        self.peer.close()

    def fill(self):
        """Send until the socket is not writable."""
        try:
            while True:
                self.mine.send(b"x" * 65536)
        except BlockingIOError:
            return


@pytest.fixture
def pair(loop):
    made = Pair(loop)
    yield made
    made.close()


@pytest.fixture
def evloop_pair(evloop_loop):
    made = Pair(evloop_loop)
    yield made
    made.close()


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


class HasFileno:
    def __init__(self, fd):
        self.fd = fd

    def fileno(self):
        return self.fd


def test_reader_gets_its_arguments(pair, turn):
    seen = []
    assert pair.loop.add_reader(pair.fd, lambda *args: seen.append(args), 1, 2) is None
    turn(pair.loop)
    assert seen == []
    pair.peer.send(b"x")
    turn(pair.loop)
    assert seen == [(1, 2)]


def test_writer_gets_its_arguments(pair, turn):
    seen = []
    assert pair.loop.add_writer(pair.fd, lambda *args: seen.append(args), 1, 2) is None
    turn(pair.loop)
    assert seen == [(1, 2)]


def test_level_triggered(pair, turn):
    calls = []
    pair.loop.add_reader(pair.fd, calls.append, "r")
    pair.peer.send(b"xy")
    turn(pair.loop, 3)
    assert calls == ["r"] * 3
    pair.mine.recv(1)
    turn(pair.loop)
    assert calls == ["r"] * 4
    pair.mine.recv(1)
    turn(pair.loop, 2)
    assert calls == ["r"] * 4


def test_writer_waits_for_room(pair, turn):
    calls = []
    pair.fill()
    pair.loop.add_writer(pair.fd, calls.append, "w")
    turn(pair.loop, 2)
    assert calls == []
    while True:
        try:
            pair.peer.recv(1 << 20)
        except BlockingIOError:
            break
    turn(pair.loop)
    assert calls == ["w"]


@pytest.mark.parametrize("first", DIRECTIONS)
def test_reader_and_writer_of_one_descriptor(pair, turn, first):
    calls = []
    second = DIRECTIONS[first == "reader"]
    for direction in (first, second):
        getattr(pair.loop, f"add_{direction}")(pair.fd, calls.append, direction)
    pair.peer.send(b"x")
    turn(pair.loop)
    assert calls == ["reader", "writer"]
    assert getattr(pair.loop, f"remove_{first}")(pair.fd) is True
    calls.clear()
    turn(pair.loop)
    assert calls == [second]
    assert getattr(pair.loop, f"remove_{second}")(pair.fd) is True
    calls.clear()
    turn(pair.loop)
    assert calls == []


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_removal_tells_whether_there_was_one(pair, direction):
    add = getattr(pair.loop, f"add_{direction}")
    remove = getattr(pair.loop, f"remove_{direction}")
    remove_other = getattr(pair.loop, f"remove_{DIRECTIONS[direction == 'reader']}")
    assert remove(pair.fd) is False
    add(pair.fd, print)
    assert remove_other(pair.fd) is False
    assert remove(pair.fd) is True
    assert remove(pair.fd) is False


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_replacement_cancels_the_old_handle(pair, turn, direction):
    calls = []
    pair.peer.send(b"x")
    add = getattr(pair.loop, f"_add_{direction}")
    old = add(pair.fd, calls.append, "old")
    assert isinstance(old, asyncio.Handle)
    new = add(pair.fd, calls.append, "new")
    assert old.cancelled()
    assert not new.cancelled()
    turn(pair.loop)
    assert calls == ["new"]
    assert getattr(pair.loop, f"_remove_{direction}")(pair.fd) is True
    assert new.cancelled()


def test_replaced_by_an_earlier_callback_of_the_batch(pair, turn):
    calls = []

    def replace():
        pair.mine.recv(1)
        pair.loop.add_writer(pair.fd, calls.append, "new writer")

    pair.loop.add_writer(pair.fd, calls.append, "old writer")
    pair.loop.add_reader(pair.fd, replace)
    pair.peer.send(b"x")
    turn(pair.loop)
    assert calls == []
    turn(pair.loop)
    assert calls == ["new writer"]


def test_writer_removed_by_the_reader_of_the_batch(pair, turn):
    calls = []
    pair.loop.add_reader(
        pair.fd, lambda: calls.append(pair.loop.remove_writer(pair.fd))
    )
    pair.loop.add_writer(pair.fd, calls.append, "writer")
    pair.peer.send(b"x")
    turn(pair.loop)
    assert calls == [True]


def test_each_of_two_descriptors_removes_the_other(loop, turn):
    pairs = [Pair(loop), Pair(loop)]
    calls = []

    def removes(mine, other):
        calls.append(mine)
        assert loop.remove_reader(other.fd) is True

    try:
        for mine, other in (pairs, pairs[::-1]):
            loop.add_reader(mine.fd, removes, mine, other)
            mine.peer.send(b"x")
        turn(loop)
        assert len(calls) == 1
        turn(loop)
        assert calls == [calls[0]] * 2
    finally:
        for each in pairs:
            each.close()


def test_callback_removing_itself(pair, turn):
    calls = []
    pair.loop.add_reader(
        pair.fd, lambda: calls.append(pair.loop.remove_reader(pair.fd))
    )
    pair.peer.send(b"x")
    turn(pair.loop, 3)
    assert calls == [True]


def test_cancelling_the_handle_silences_it(pair, turn):
    calls = []
    handle = pair.loop._add_reader(pair.fd, calls.append, 1)
    pair.peer.send(b"x")
    handle.cancel()
    turn(pair.loop)
    assert calls == []
    # asyncio drops the registration the first time it finds it cancelled.
    assert pair.loop.remove_reader(pair.fd) is False


def test_end_of_stream_wakes_the_reader(pair, turn):
    calls = []
    pair.loop.add_reader(pair.fd, calls.append, "r")
    pair.peer.shutdown(socket.SHUT_WR)
    turn(pair.loop)
    assert calls == ["r"]


def test_hang_up_wakes_both(pair, turn):
    calls = []
    pair.fill()
    pair.loop.add_reader(pair.fd, calls.append, "r")
    pair.loop.add_writer(pair.fd, calls.append, "w")
    pair.peer.close()
    turn(pair.loop)
    assert calls == ["r", "w"]


def test_hang_up_wakes_a_lone_writer(loop, turn):
    calls = []
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, bytes(65536))
    except BlockingIOError:
        loop.add_writer(writing, calls.append, "w")
    turn(loop)
    assert calls == []
    os.close(reading)
    turn(loop)
    assert calls == ["w"]
    loop.remove_writer(writing)
    os.close(writing)


def test_hang_up_wakes_a_lone_reader(loop, turn):
    calls = []
    reading, writing = os.pipe()
    loop.add_reader(reading, calls.append, "r")
    os.close(writing)
    turn(loop)
    assert calls == ["r"]
    loop.remove_reader(reading)
    os.close(reading)


def test_refused_connection_wakes_both(loop):
    calls = []
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = listening.getsockname()
    with socket.socket() as sock:
        sock.setblocking(False)
        try:
            sock.connect(address)
        except OSError:
            calls.append("refused or in progress")

        def woken(which):
            calls.append(which)
            loop.stop()

        loop.add_reader(sock, woken, "r")
        loop.add_writer(sock, woken, "w")
        loop.run_forever()
        loop.remove_reader(sock)
        loop.remove_writer(sock)
    assert calls[1:] == ["r", "w"]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_objects_with_fileno(pair, turn, direction):
    add = getattr(pair.loop, f"add_{direction}")
    remove = getattr(pair.loop, f"remove_{direction}")
    pair.peer.send(b"x")
    calls = []
    for fileobj in (pair.mine, HasFileno(pair.fd), pair.fd):
        add(fileobj, calls.append, fileobj)
        turn(pair.loop)
        # Registered under its number, whatever it was given as.
        assert remove(pair.fd) is True
        assert remove(fileobj) is False
    assert [getattr(each, "fileno", None) is not None for each in calls] == [
        True,
        True,
        False,
    ]


def test_bool_is_a_descriptor_number(same_outcome):
    # True is 1, the standard output.
    def watch(loop):
        return loop.remove_reader(True), loop.remove_writer(True)

    assert same_outcome(watch) == (False, False)


def test_closed_socket_object(loop):
    sock = socket.socket()
    sock.close()
    # fileno() is -1 by now.
    with pytest.raises(ValueError, match="-1"):
        loop.add_reader(sock, print)


def test_removal_by_object_after_it_was_closed(same_outcome):
    def watch(loop):
        mine, peer = socket.socketpair()
        with peer:
            fd = mine.fileno()
            loop.add_reader(mine, print)
            mine.close()
            try:
                return loop.remove_reader(mine), loop.remove_reader(fd)
            finally:
                loop._remove_reader(fd)

    same_outcome(watch)


def test_removal_by_number_after_it_was_closed(loop, turn):
    mine, peer = socket.socketpair()
    with peer:
        loop.add_reader(mine, print)
        fd = mine.fileno()
        mine.close()
        turn(loop)
        assert loop.remove_reader(fd) is True
        assert loop.remove_reader(fd) is False


@pytest.mark.parametrize("name", ["add_reader", "add_writer"])
def test_adding_to_a_closed_loop(loop, pipe, name):
    loop.close()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        getattr(loop, name)(pipe[0], print)


@pytest.mark.parametrize("name", ["remove_reader", "remove_writer"])
def test_removing_from_a_closed_loop(loop, pipe, name):
    loop.add_reader(pipe[0], print)
    loop.close()
    assert getattr(loop, name)(pipe[0]) is False


def test_closing_the_loop_ends_the_watching(loop, pipe):
    loop.add_reader(pipe[0], print)
    loop.add_writer(pipe[1], print)
    loop.close()
    os.write(pipe[1], b"still open")
    assert os.read(pipe[0], 20) == b"still open"


def test_number_reused_between_turns(pair, turn):
    calls = []
    pair.loop.add_reader(pair.fd, calls.append, "old")
    pair.loop.remove_reader(pair.fd)
    pair.mine.close()
    mine, peer = socket.socketpair()
    with mine, peer:
        assert pair.fd in (mine.fileno(), peer.fileno())
        fresh, other = (mine, peer) if mine.fileno() == pair.fd else (peer, mine)
        pair.loop.add_reader(fresh, calls.append, "new")
        turn(pair.loop)
        assert calls == []
        other.send(b"x")
        turn(pair.loop)
        assert calls == ["new"]
        pair.loop.remove_reader(fresh)


def test_number_reused_within_a_batch(loop, turn):
    # Both sockets are readable in one poll. The first callback closes the
    # other's socket and watches a silent one under the same number: the event
    # polled for the old one must not reach the new callback.
    pairs = [Pair(loop), Pair(loop)]
    calls = []
    opened = []

    def replaces(mine, other):
        calls.append("old")
        loop.remove_reader(mine.fd)
        loop.remove_reader(other.fd)
        silent, kept = socket.socketpair()
        opened.extend((silent, kept))
        os.dup2(silent.fileno(), other.fd, inheritable=False)
        loop.add_reader(other.fd, calls.append, "new")

    try:
        for mine, other in (pairs, pairs[::-1]):
            loop.add_reader(mine.fd, replaces, mine, other)
            mine.peer.send(b"x")
        turn(loop, 2)
        assert calls == ["old"]
        opened[1].send(b"x")
        turn(loop)
        assert calls == ["old", "new"]
    finally:
        for each in (*pairs, *opened):
            each.close()


def test_closed_without_removal_and_number_reused(loop, turn):
    # Closing a descriptor takes it out of the kernel's set without telling
    # the loop. Watching its successor must still work.
    calls = []
    mine, peer = socket.socketpair()
    loop.add_reader(mine, calls.append, "old")
    fd = mine.fileno()
    mine.close()
    peer.close()
    mine, peer = socket.socketpair()
    with mine, peer:
        if fd != mine.fileno():
            mine, peer = peer, mine
        assert mine.fileno() == fd
        loop.add_reader(fd, calls.append, "new")
        peer.send(b"x")
        turn(loop)
        assert loop.remove_reader(fd) is True
        turn(loop)
    # asyncio's selector believes that it watches already, and hears nothing.
    assert calls in ([], ["new"])


def test_duplicates_are_apart(pair, turn):
    calls = []
    with pair.mine.dup() as duplicate:
        pair.loop.add_reader(pair.mine, calls.append, 1)
        pair.loop.add_reader(duplicate, calls.append, 2)
        pair.peer.send(b"x")
        turn(pair.loop)
        assert sorted(calls) == [1, 2]
        assert pair.loop.remove_reader(duplicate) is True
        turn(pair.loop)
        assert sorted(calls) == [1, 1, 2]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("act", ["add", "remove"])
def test_descriptor_of_a_transport(loop, act, direction):
    async def main():
        mine, peer = socket.socketpair()
        with peer:
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=mine)
            args = [print] if act == "add" else []
            text = "^File descriptor .* is used by transport "
            for fileobj in (mine, mine.fileno()):
                with pytest.raises(RuntimeError, match=text):
                    getattr(loop, f"{act}_{direction}")(fileobj, *args)
            transport.close()
            await asyncio.sleep(0)

    loop.run_until_complete(main())


def test_many_descriptors_at_once(loop):
    pairs = [Pair(loop) for _ in range(200)]
    calls = []

    def readable(number):
        calls.append(number)
        loop.remove_reader(pairs[number].fd)
        if len(calls) == len(pairs):
            loop.stop()

    try:
        for number, each in enumerate(pairs):
            loop.add_reader(each.fd, readable, number)
            each.peer.send(b"x")
        loop.run_forever()
    finally:
        for each in pairs:
            each.close()
    assert sorted(calls) == list(range(200))


def test_all_that_is_ready_is_seen_in_one_turn(loop, turn):
    pairs = [Pair(loop) for _ in range(300)]
    calls = []
    try:
        for number, each in enumerate(pairs):
            loop.add_reader(each.fd, calls.append, number)
            each.peer.send(b"x")
        turn(loop)
        assert sorted(calls) == list(range(300))
    finally:
        for each in pairs:
            loop.remove_reader(each.fd)
            each.close()


def test_high_descriptor_number(loop, turn, pipe):
    calls = []
    high = os.dup(pipe[0])
    try:
        os.dup2(high, 900, inheritable=False)
        loop.add_reader(900, calls.append, 1)
        os.write(pipe[1], b"x")
        turn(loop)
        assert loop.remove_reader(900) is True
    finally:
        os.close(900)
        os.close(high)
    assert calls == [1]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_callback_as_keyword_and_wrong_signature(pair, direction):
    add = getattr(pair.loop, f"add_{direction}")
    add(fd=pair.fd, callback=print)
    assert getattr(pair.loop, f"remove_{direction}")(fd=pair.fd) is True
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        add(pair.fd)
    with pytest.raises(TypeError, match="missing 2 required positional arguments"):
        add()


def test_exception_of_a_reader_is_reported(pair, turn, reported):
    contexts = reported(pair.loop)

    def fail():
        raise LookupError

    pair.loop.add_reader(pair.fd, fail)
    pair.peer.send(b"x")
    turn(pair.loop, 2)
    assert [type(each["exception"]) for each in contexts] == [LookupError] * 2


def test_reader_added_by_a_thread_wakes_nobody_wrongly(pair):
    # Descriptors becoming ready while the loop blocks is the ordinary case.
    pair.loop.add_reader(pair.fd, pair.loop.stop)
    pair.loop.call_later(0.001, pair.peer.send, b"x")
    pair.loop.run_forever()
    assert pair.mine.recv(1) == b"x"


def test_reference_counts(evloop_pair, turn):
    class Callback:
        def __call__(self):
            """Nothing to do."""

    callback = Callback()
    before = sys.getrefcount(callback)
    evloop_pair.loop.add_reader(evloop_pair.fd, callback)
    evloop_pair.peer.send(b"x")
    turn(evloop_pair.loop, 3)
    evloop_pair.loop.remove_reader(evloop_pair.fd)
    assert sys.getrefcount(callback) == before


def test_number_of_no_descriptor(loop):
    """However large, it costs no memory."""
    for fd in (1 << 20, 1 << 30, (1 << 31) - 1):
        for add in (loop.add_reader, loop.add_writer):
            with pytest.raises(OSError, match="Bad file descriptor"):
                add(fd, print)
        assert loop.remove_reader(fd) is False


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_file_is_let_go_of(loop, direction):
    """Also if an operation on it has waited, which keeps it registered."""

    async def main(mine, peer):
        task = asyncio.ensure_future(loop.sock_recv(mine, 1))
        await asyncio.sleep(0)
        peer.send(b"x")
        await task
        getattr(loop, f"add_{direction}")(mine, int)
        getattr(loop, f"remove_{direction}")(mine)

    mine, peer = socket.socketpair()
    mine.setblocking(False)
    gone = weakref.ref(mine)
    with peer:
        loop.run_until_complete(main(mine, peer))
        mine.close()
        del mine
        gc.collect()
        assert gone() is None


STALE = """
    import asyncio, os, resource, socket, sys

    if sys.argv[1] == "evloop":
        import evloop
        loop = evloop.new_event_loop()
    else:
        loop = asyncio.SelectorEventLoop()

    async def main():
        mine, peer = socket.socketpair()
        number = mine.fileno()
        loop.add_reader(number, print)
        await asyncio.sleep(0)
        # What a child has, or another library: the file stays open, and registered.
        with mine.dup(), peer:
            mine.close()
            loop.remove_reader(number)
            lowest = os.dup(0)
            os.close(lowest)
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
            peer.send(b"x")
            for _ in range(3):
                await asyncio.sleep(0.001)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            one, two = socket.socketpair()
            with one, two:
                readable = asyncio.Event()
                loop.add_reader(one, readable.set)
                two.send(b"x")
                await readable.wait()
                loop.remove_reader(one)

    loop.run_until_complete(asyncio.wait_for(main(), 30))
    loop.close()
"""


@pytest.mark.parametrize("kind", ["asyncio", "evloop"])
def test_stale_event_without_a_descriptor_left(kind):
    """The poll cannot be made anew then; the loop goes on with the one it has."""
    command = [sys.executable, "-c", textwrap.dedent(STALE), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
