"""Fixtures of the tests of TLS; other modules here have their own of these names."""

from tests.unit.conftest import kind, links, never_reported, side

__all__ = ["kind", "links", "never_reported", "side"]
