"""The section *Debug mode*."""

import sys

import pytest


def test_get_debug(loop):
    """Get the debug mode (:class:`bool`) of the event loop."""
    assert type(loop.get_debug()) is bool


@pytest.mark.skipif(sys.flags.ignore_environment, reason="python -E")
def test_default_of_the_environment(new_loop, monkeypatch):
    """The default value is ``True`` if the environment variable
    :envvar:`PYTHONASYNCIODEBUG` is set to a non-empty string, ``False``
    otherwise."""
    # Python's development mode, which came later, turns it on as well.
    for value, expected in (("1", True), ("yes", True), ("", sys.flags.dev_mode)):
        monkeypatch.setenv("PYTHONASYNCIODEBUG", value)
        assert new_loop().get_debug() is expected
    monkeypatch.delenv("PYTHONASYNCIODEBUG")
    assert new_loop().get_debug() is sys.flags.dev_mode


def test_set_debug(loop):
    """Set the debug mode of the event loop."""
    for enabled in (True, False, True):
        loop.set_debug(enabled)
        assert loop.get_debug() is enabled


def test_set_debug_while_running(loop, run):
    """Set the debug mode of the event loop."""

    async def main():
        loop.set_debug(True)
        with pytest.raises(TypeError, match="a callable object was expected"):
            loop.call_soon("not callable")
        loop.set_debug(False)
        return loop.get_debug()

    assert run(main()) is False


def test_debug_mode_of_asyncio(loop, caplog):
    """The :ref:`debug mode of asyncio <asyncio-debug-mode>`."""
    # That page: a callback that takes too long is logged, with its time.
    loop.slow_callback_duration = 0
    for enabled in (False, True):
        loop.set_debug(enabled)
        loop.call_soon(sorted, "cab")
        loop.call_soon(loop.stop)
        assert "sorted" not in caplog.text
        loop.run_forever()
    assert "sorted('cab')" in caplog.text
