"""Garbage collected while datagrams are read, with finalizers that read, too.

Before Python 3.12 any allocation can collect garbage, also one in the middle of a
batch.
"""

import asyncio
import gc
import socket

import pytest

PEERS = 48
# More pairs than the interpreter keeps for reuse: to make another allocates.
PAIRS = 10_000


class Reader:
    """Garbage that reads from a transport as it is collected."""

    def __init__(self, transport):
        self.transport = transport
        self.cycle = self

    def __del__(self):
        self.transport._read_ready()


class Receiver(asyncio.DatagramProtocol):
    def __init__(self):
        self.got = []

    def datagram_received(self, data, addr):
        self.got.append((data, addr))


@pytest.fixture
def collecting():
    """Collect garbage as often as can be."""
    gc.collect()
    pairs = [(n, None) for n in range(PAIRS)]
    before = gc.get_threshold()
    yield lambda: gc.set_threshold(1)
    gc.set_threshold(*before)
    pairs.clear()


@pytest.fixture
def peers():
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(PEERS)]
    for peer in sockets:
        peer.bind(("127.0.0.1", 0))
    yield sockets
    for peer in sockets:
        peer.close()


async def receive(loop):
    return await loop.create_datagram_endpoint(Receiver, local_addr=("127.0.0.1", 0))


def test_finalizer_reads_from_another(loop, collecting, peers):
    async def main():
        outer, got_outer = await receive(loop)
        inner, got_inner = await receive(loop)
        sent_outer, sent_inner = [], []
        for peer in peers:
            for sent, to in ((sent_outer, outer), (sent_inner, inner)):
                data = b"%d of %d" % (len(sent), id(sent))
                peer.sendto(data, to.get_extra_info("sockname"))
                sent.append((data, peer.getsockname()))
        while len(got_outer.got) + len(got_inner.got) < 2 * PEERS:
            Reader(inner)
            collecting()
            outer._read_ready()
            gc.set_threshold(0)
            inner._read_ready()
        assert sorted(got_outer.got) == sorted(sent_outer)
        assert sorted(got_inner.got) == sorted(sent_inner)
        outer.close()
        inner.close()

    loop.run_until_complete(asyncio.wait_for(main(), 60))
