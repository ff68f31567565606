"""TLS: evloop's SSLProtocol and its transport, and the choice of the engine.

What runs once in a connection's life is asyncio's own code, in ``asyncio.sslproto``;
what runs for each read and write is native (``src/tls.c``).
"""

import asyncio
import os
import sys
from asyncio import base_events, sslproto, streams

from . import _core

try:
    import ssl
except ImportError:  # a Python without OpenSSL
    ssl = None

# asyncio's start_tls() hands on what a StreamReader holds already, from some 3.14 on.
_HANDS_ON = "_incoming" in base_events.BaseEventLoop.start_tls.__code__.co_names

_stock = sslproto.SSLProtocol


class SSLProtocol(_core._TLSProtocol, sslproto.SSLProtocol):
    """asyncio's SSLProtocol, whose reads and writes are native."""

    __slots__ = ()


class SSLTransport(_core._TLSTransport, sslproto._SSLProtocolTransport):
    """The transport of a TLS connection.

    Made by the loop's create_connection(), create_server() and start_tls().
    Mirrors asyncio.Transport.
    """


def _check_direct() -> str | None:
    """Find the library for the direct engine; return the reason why not, or None."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 15):
        return "the ssl module of this version of Python is not known"
    import _ssl

    file = getattr(_ssl, "__file__", None)
    if file is None:
        return "the ssl module is linked into the interpreter"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    sslobj = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO())
    return _core._tls_open(file, ssl.OPENSSL_VERSION, context, sslobj)


_engine: tuple[str, str] | None = None


def _start() -> tuple[str, str]:
    if ssl is None:
        return ("portable", "the ssl module is not available")
    _core._tls_setup(ssl, sslproto, SSLProtocol, SSLTransport)
    wanted = os.environ.get("EVLOOP_TLS") or None
    if wanted not in (None, "direct", "portable"):
        raise ValueError(f"EVLOOP_TLS must be 'direct' or 'portable', not {wanted!r}")
    if wanted == "portable":
        return ("portable", "EVLOOP_TLS asks for it")
    reason = _check_direct()
    if reason is not None:
        if wanted == "direct":
            raise RuntimeError(f"EVLOOP_TLS asks for the direct engine, but {reason}")
        return ("portable", reason)
    _core._tls_use_direct(True)
    return ("direct", f"{ssl.OPENSSL_VERSION}, shared with the ssl module")


def tls_engine() -> tuple[str, str]:
    """Return which engine new TLS connections use, and why: a tuple of two str.

    The first is ``"direct"`` (OpenSSL called natively) or ``"portable"`` (through
    the ssl module's objects). Raises ValueError or RuntimeError when the
    environment variable EVLOOP_TLS asks for what there is not.
    """
    global _engine
    if _engine is None:
        _engine = _start()
    return _engine


def protocol_class() -> type[sslproto.SSLProtocol]:
    """Return the class for new connections: evloop's, unless asyncio's is replaced."""
    if ssl is None or sslproto.SSLProtocol is not _stock:
        return sslproto.SSLProtocol
    tls_engine()
    return SSLProtocol


class TLSMixin:
    """start_tls() with evloop's protocol."""

    async def start_tls(
        self,
        transport,
        protocol,
        sslcontext,
        *,
        server_side=False,
        server_hostname=None,
        ssl_handshake_timeout=None,
        ssl_shutdown_timeout=None,
    ):
        """Upgrade a transport to TLS; return the transport to use from now on.

        Mirrors :meth:`asyncio.loop.start_tls`.
        """
        if ssl is None:
            raise RuntimeError("Python ssl module is not available")
        if not isinstance(sslcontext, ssl.SSLContext):
            raise TypeError(
                "sslcontext is expected to be an instance of ssl.SSLContext, "
                f"got {sslcontext!r}"
            )
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        waiter = self.create_future()
        ssl_protocol = protocol_class()(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
            call_connection_made=False,
        )
        # Data must not reach the protocol before its connection_made().
        transport.pause_reading()
        if _HANDS_ON and server_side:
            _hand_on(protocol, ssl_protocol)
        transport.set_protocol(ssl_protocol)
        made = self.call_soon(ssl_protocol.connection_made, transport)
        resume = self.call_soon(transport.resume_reading)
        try:
            await waiter
        except BaseException:
            transport.close()
            made.cancel()
            resume.cancel()
            raise
        return ssl_protocol._app_transport


def _hand_on(protocol: asyncio.BaseProtocol, ssl_protocol: sslproto.SSLProtocol):
    """Give what a stream has read already to its TLS."""
    if not isinstance(protocol, streams.StreamReaderProtocol):
        return
    reader = getattr(protocol, "_stream_reader", None)
    if reader is not None and reader._buffer:
        feed = getattr(ssl_protocol, "_feed", None) or ssl_protocol._incoming.write
        feed(reader._buffer)
        reader._buffer.clear()
