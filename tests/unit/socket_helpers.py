"""Connected sockets, for tests of what is done with them."""

import contextlib
import socket

_HOSTS = {"tcp": ("127.0.0.1", socket.AF_INET), "tcp6": ("::1", socket.AF_INET6)}


@contextlib.contextmanager
def socket_pair(kind="unix"):
    """Give two connected non-blocking stream sockets: "unix", "tcp" or "tcp6"."""
    if kind == "unix":
        one, two = socket.socketpair()
    else:
        host, family = _HOSTS[kind]
        with socket.create_server((host, 0), family=family) as listener:
            one = socket.create_connection(listener.getsockname()[:2])
            two, _ = listener.accept()
    with one, two:
        one.setblocking(False)
        two.setblocking(False)
        yield one, two
