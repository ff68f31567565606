"""What was written before fork(): the parent sends it, once; the child does not."""

import os

import pytest

from tests.unit import tls_helpers, transport_helpers

# The threads of other tests' executors may be there still.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


def in_child(action):
    """Run *action* in a child and wait for its end."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def write(transport, data):
    transport.write(data)


def writelines(transport, data):
    transport.writelines([data])


@pytest.mark.parametrize("send", [write, writelines])
def test_both_write(loop, send):
    def child():
        send(transport, b"child ")
        transport.get_write_buffer_size()

    def parent():
        send(transport, b"parent ")
        in_child(child)

    with transport_helpers.linked(loop) as links:
        transport, peer = links.connect()
        transport_helpers.in_callback(loop, parent)
        words = transport_helpers.at_once(peer).split()
    assert sorted(words) == [b"child", b"parent"]


def arrived(kind, loop, peer):
    """Return what a peer has got of ``parent goes on``."""
    if kind is tls_helpers:
        return tls_helpers.received(loop, peer, len(b"parent goes on"))
    return transport_helpers.at_once(peer)


@pytest.mark.parametrize("kind", [transport_helpers, tls_helpers])
@pytest.mark.parametrize("data", [[], [b""]])
def test_child_writes_nothing(loop, kind, data):
    """Over TLS, a record that came twice would end the connection."""

    def child():
        transport.writelines(data)
        transport.get_write_buffer_size()

    def parent():
        transport.write(b"parent")
        in_child(child)

    with kind.linked(loop) as links:
        transport, peer = links.connect()
        transport_helpers.in_callback(loop, parent)
        transport.write(b" goes on")
        assert arrived(kind, loop, peer) == b"parent goes on"


@pytest.mark.parametrize("kind", [transport_helpers, tls_helpers])
def test_child_goes_on(loop, kind):
    """Daemons do: the child leaves the callback, and ends in the next turn."""
    parent = os.getpid()
    children = []

    def callback():
        transport.write(b"parent")
        children.append(os.fork())
        if children == [0]:
            loop.call_soon(os._exit, 0)

    with kind.linked(loop) as links:
        transport, peer = links.connect()
        loop.call_soon(callback)
        try:
            transport_helpers.turns(loop, 3)
        finally:
            if os.getpid() != parent:
                os._exit(1)
        _, status = os.waitpid(children[0], 0)
        assert os.waitstatus_to_exitcode(status) == 0
        transport.write(b" goes on")
        assert arrived(kind, loop, peer) == b"parent goes on"
