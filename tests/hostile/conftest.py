"""The fixtures of tests/unit; some modules here have their own of these names."""

from tests.unit.conftest import (
    kind,
    links,
    never_reported,
    peer,
    pipe,
    receiver,
    side,
    tcp_pair,
    unix_pair,
)

__all__ = [
    "kind",
    "links",
    "never_reported",
    "peer",
    "pipe",
    "receiver",
    "side",
    "tcp_pair",
    "unix_pair",
]
