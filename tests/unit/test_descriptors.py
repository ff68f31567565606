"""What add_reader and the like answer to descriptors that cannot be watched."""

import socket

import pytest

DIRECTIONS = ["reader", "writer"]


class HasFileno:
    def __init__(self, fd):
        self.fd = fd

    def fileno(self):
        return self.fd


BAD = {
    "none": None,
    "text": "1",
    "float": 1.5,
    "object": object(),
    "list": [],
    "fileno not a method": type("Odd", (), {"fileno": 3})(),
    "fileno is text": HasFileno("text"),
    "fileno is None": HasFileno(None),
    "fileno is negative": HasFileno(-1),
    "negative": -1,
    "huge": 2**31,
    "very huge": 2**64,
    "very negative": -(2**64),
    "fileno is huge": HasFileno(2**64),
    "unused": 1_000_000,
    "fileno is unused": HasFileno(1_000_000),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("act", ["add", "remove"])
def test_bad_descriptors(same_outcome, name, direction, act):
    def watch(loop):
        method = getattr(loop, f"{act}_{direction}")
        return method(BAD[name], *([print] if act == "add" else []))

    same_outcome(watch)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_fileno_that_raises(same_outcome, direction):
    class Odd:
        def fileno(self):
            raise LookupError("mine")

    def watch(loop):
        getattr(loop, f"add_{direction}")(Odd(), print)

    assert isinstance(same_outcome(watch), LookupError)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_regular_file(same_outcome, tmp_path, direction):
    with open(tmp_path / "file", "w+") as file:

        def watch(loop):
            getattr(loop, f"add_{direction}")(file, print)

        exc = same_outcome(watch)
        assert isinstance(exc, PermissionError)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_regular_file_leaves_nothing_registered(loop, tmp_path, direction):
    with open(tmp_path / "file", "w+") as file:
        with pytest.raises(PermissionError):
            getattr(loop, f"add_{direction}")(file, print)
        assert getattr(loop, f"remove_{direction}")(file) is False


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_closed_descriptor(same_outcome, direction):
    with socket.socket() as sock:
        number = sock.fileno()

    def watch(loop):
        getattr(loop, f"add_{direction}")(number, print)

    exc = same_outcome(watch)
    assert isinstance(exc, OSError)
