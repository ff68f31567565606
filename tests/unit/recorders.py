"""Protocols of datagrams and pipes that keep what they are told."""

import asyncio


class _Recorder:
    """Mixin: keeps what it is told, in order, then calls what a test put in ``on_...``.

    ``calls`` has a tuple for each: a name (made, pause, resume, lost...), then what
    the protocol was given. ``on_made(protocol)`` is called after the first, and so on.
    """

    def __init__(self):
        self.calls = []
        self.transport = None
        self._changed = asyncio.Event()

    def told(self, name, *given):
        self.calls.append((name, *given))
        self._changed.set()
        action = getattr(self, f"on_{name}", None)
        if action is not None:
            action(self)

    def connection_made(self, transport):
        self.transport = transport
        self.told("made")

    def pause_writing(self):
        self.told("pause")

    def resume_writing(self):
        self.told("resume")

    def connection_lost(self, exc):
        self.told("lost", exc)

    def called(self, name):
        return [call for call in self.calls if call[0] == name]

    async def until(self, name, count=1):
        """Wait until it was told *name* as often as *count*."""
        while len(self.called(name)) < count:
            self._changed.clear()
            await self._changed.wait()


class DatagramRecorder(_Recorder, asyncio.DatagramProtocol):
    def datagram_received(self, data, addr):
        self.told("datagram", data, addr)

    def error_received(self, exc):
        self.told("error", type(exc))

    @property
    def data(self):
        return [call[1] for call in self.called("datagram")]


class PipeRecorder(_Recorder, asyncio.Protocol):
    """Of data the calls have the name alone: ``data`` is all of them in one."""

    def __init__(self):
        super().__init__()
        self.data = b""

    def data_received(self, data):
        assert type(data) is bytes
        self.data += data
        self.told("data")

    def eof_received(self):
        self.told("eof")

    async def until_data(self, size):
        """Wait until it has received *size* bytes."""
        while len(self.data) < size:
            self._changed.clear()
            await self._changed.wait()
