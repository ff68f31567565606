"""Name resolution: addresses in numbers are answered at once, names in a thread."""

import _socket
import asyncio
import socket
from typing import Any

# With these no name is looked up, of a host or of a service: nothing can block.
_NUMERIC_INFO = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
_NUMERIC_NAME = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


_Address = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
_Info = tuple[socket.AddressFamily, socket.SocketKind, int, str, _Address]


def _looks_numeric(host: object) -> bool:
    """Return whether *host* may be an address in numbers; most names may not."""
    if isinstance(host, str):
        return ":" in host or "0" <= host[:1] <= "9"
    return isinstance(host, bytes) and (b":" in host or host[:1].isdigit())


def _is_stock(getaddrinfo: object) -> bool:
    """Return whether the function is the socket module's own, not a replacement."""
    return getattr(getaddrinfo, "__globals__", None) is vars(socket)


class Resolver(asyncio.SelectorEventLoop):
    """The part of the loop that resolves names."""

    __slots__ = ()

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> list[_Info]:
        """Resolve *host* and *port*; mirrors :func:`socket.getaddrinfo`.

        An address in numbers with a port in numbers is answered at once, anything
        else in the default executor.
        """
        self._check_closed()
        if _looks_numeric(host) and _is_stock(socket.getaddrinfo):
            try:
                infos = socket.getaddrinfo(
                    host, port, family, type, proto, flags | _NUMERIC_INFO
                )
            except Exception:
                # Not in numbers, or wrong: what is asked for says it best.
                pass
            else:
                if self.get_debug():
                    infos = self._getaddrinfo_debug(
                        host, port, family, type, proto, flags
                    )
                return infos
        return await super().getaddrinfo(
            host, port, family=family, type=type, proto=proto, flags=flags
        )

    async def getnameinfo(
        self, sockaddr: tuple[Any, ...], flags: int = 0
    ) -> tuple[str, str]:
        """Return (host, service) of *sockaddr*; mirrors :func:`socket.getnameinfo`.

        With NI_NUMERICHOST and NI_NUMERICSERV the answer comes at once, else from
        the default executor.
        """
        self._check_closed()
        if (
            isinstance(flags, int)
            and flags & _NUMERIC_NAME == _NUMERIC_NAME
            and socket.getnameinfo is _socket.getnameinfo
        ):
            return socket.getnameinfo(sockaddr, flags)
        return await super().getnameinfo(sockaddr, flags)
