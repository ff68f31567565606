"""TLS over a transport of somebody else's class, which delivers at odd moments."""

import asyncio
import ssl

import pytest

from tests.unit.certs import client_context, server_context

CHUNKS = [bytes([number]) * 1000 for number in b"12345"]


class Memory(asyncio.Transport):
    """Takes what is written, and delivers what is pushed, within the call."""

    _start_tls_compatible = True

    def __init__(self):
        super().__init__()
        self.taken = b""
        self.closed = False

    def set_protocol(self, protocol):
        self.protocol = protocol

    def get_protocol(self):
        return self.protocol

    def push(self, data):
        while data:
            buffer = self.protocol.get_buffer(-1)
            count = min(len(buffer), len(data))
            buffer[:count] = data[:count]
            data = data[count:]
            self.protocol.buffer_updated(count)

    def pause_reading(self):
        pass

    resume_reading = pause_reading

    def write(self, data):
        self.taken += bytes(data)

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True

    abort = close

    def _force_close(self, error):
        self.closed = True


class Answering(asyncio.BufferedProtocol):
    """Has a small buffer, and calls *action* when it was filled."""

    def __init__(self):
        self.buffer = bytearray(1000)
        self.data = b""
        self.action = None

    def get_buffer(self, hint):
        return self.buffer

    def buffer_updated(self, count):
        self.data += self.buffer[:count]
        if self.action is not None:
            self.action()


async def shaken(loop, transport, protocol, peer, incoming, outgoing):
    """Shake hands with *peer*, a TLS object over the two BIOs."""
    task = loop.create_task(
        loop.start_tls(transport, protocol, server_context(), server_side=True)
    )
    while not task.done():
        await asyncio.sleep(0)
        try:
            peer.do_handshake()
        except ssl.SSLWantReadError:
            pass
        transport.push(outgoing.read())
        incoming.write(transport.taken)
        transport.taken = b""
    return task.result()


@pytest.mark.parametrize("cut", [2500, 2900, 3100])
def test_more_arrives_while_some_is_told_of(loop, run, cut):
    """What was lent for more to be written to is not what is being decrypted."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    peer = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    transport, protocol = Memory(), Answering()
    transport.set_protocol(protocol)

    async def main():
        tls = await shaken(loop, transport, protocol, peer, incoming, outgoing)
        for chunk in CHUNKS:
            peer.write(chunk)
        data = outgoing.read()
        rest = [data[cut:]]

        def more():
            if rest:
                transport.push(rest.pop())

        protocol.action = more
        transport.push(data[:cut])
        while len(protocol.data) < sum(map(len, CHUNKS)) and not transport.closed:
            await asyncio.sleep(0)
        tls.abort()
        assert protocol.data == b"".join(CHUNKS)

    run(main())
