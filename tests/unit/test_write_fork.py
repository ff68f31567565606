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

    with transport_helpers.linked(loop) as links:
        transport, peer = links.connect()
        loop.call_soon(send, transport, b"parent ")
        loop.call_soon(in_child, child)
        transport_helpers.turns(loop)
        words = transport_helpers.at_once(peer).split()
    assert sorted(words) == [b"child", b"parent"]


@pytest.mark.parametrize("data", [[], [b""]])
def test_child_writes_nothing(loop, data):
    def child():
        transport.writelines(data)
        transport.get_write_buffer_size()

    with transport_helpers.linked(loop) as links:
        transport, peer = links.connect()
        loop.call_soon(transport.write, b"parent")
        loop.call_soon(in_child, child)
        transport_helpers.turns(loop)
        assert transport_helpers.at_once(peer) == b"parent"


@pytest.mark.parametrize("data", [[], [b""]])
def test_child_writes_nothing_over_tls(loop, data):
    """A record that came twice would end the connection."""

    def child():
        transport.writelines(data)
        transport.get_write_buffer_size()

    with tls_helpers.linked(loop) as links:
        transport, peer = links.connect()
        loop.call_soon(transport.write, b"parent")
        loop.call_soon(in_child, child)
        transport_helpers.turns(loop)
        transport.write(b" goes on")
        assert tls_helpers.received(loop, peer, 14) == b"parent goes on"
