"""Fixtures of the tests of TLS; other modules here have their own of these names."""

import pytest

from tests.unit.tls_helpers import KINDS, VERSIONS, linked


@pytest.fixture
def links(loop, request):
    """The links of a loop: TLS 1.3, or as *both_versions* says."""
    with linked(loop, getattr(request, "param", VERSIONS["1.3"])) as links:
        yield links


@pytest.fixture(params=["client", "server"])
def side(request):
    """The side of a connection that the loop has."""
    return request.param


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request):
    """A class of protocols that record what they are told."""
    return request.param


@pytest.fixture
def never_reported(loop, reported):
    """What was reported to the loop's exception handler: nothing."""
    contexts = reported(loop)
    yield contexts
    assert contexts == []
