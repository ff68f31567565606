"""When what a callback writes leaves: at its end, or at once if that was asked for."""

import asyncio
import os
import socket
import subprocess
import sys

import pytest


async def seen_in_callback(loop):
    """Return what the peer has got while the callback that wrote still runs."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with theirs:
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, ours)
        try:
            transport.write(b"data")
            try:
                early = theirs.recv(10)
            except BlockingIOError:
                early = b""
            await asyncio.sleep(0)
            return early, early or theirs.recv(10)
        finally:
            transport.close()
            await asyncio.sleep(0)


def test_together_by_default(evloop_loop):
    assert evloop_loop.write_at_once is False
    run = evloop_loop.run_until_complete
    assert run(seen_in_callback(evloop_loop)) == (b"", b"data")


def test_at_once(evloop_loop):
    evloop_loop.write_at_once = True
    assert evloop_loop.write_at_once is True
    run = evloop_loop.run_until_complete
    assert run(seen_in_callback(evloop_loop)) == (b"data", b"data")


def test_from_within_the_callback(evloop_loop):
    async def main():
        evloop_loop.write_at_once = True
        return await seen_in_callback(evloop_loop)

    assert evloop_loop.run_until_complete(main())[0] == b"data"


@pytest.mark.parametrize(("value", "expected"), [("1", "True"), ("", "False")])
def test_environment(value, expected):
    code = "import evloop; loop = evloop.new_event_loop(); print(loop.write_at_once)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env={**os.environ, "EVLOOP_WRITE_AT_ONCE": value},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected


def test_deleted(evloop_loop):
    evloop_loop.write_at_once = True
    del evloop_loop.write_at_once
    assert evloop_loop.write_at_once is False
