"""What ``python -m evloop`` does: install the policy, then be plain Python.

The program runs in the real ``__main__`` module, with the ``sys.argv``,
``sys.path`` and ``__file__`` that plain Python would give it, and its
tracebacks show none of our frames.
"""

import importlib.machinery
import io
import os
import pkgutil
import runpy
import sys
from collections.abc import Callable
from types import CodeType, TracebackType
from typing import Any, NoReturn

from ._policy import install

USAGE = """\
usage: python -m evloop script.py [arguments ...]
       python -m evloop -m module [arguments ...]

Run an unmodified asyncio program on evloop. A script may also be a directory
or a zip file with a __main__.py."""


def main() -> None:
    """Run the program that ``sys.argv[1:]`` names; exit with 2 if it names none."""
    args = sys.argv[1:]
    if args[:1] in (["-h"], ["--help"]):
        print(USAGE)
        return
    if not args or args == ["-m"] or (args[0].startswith("-") and args[0] != "-m"):
        print(USAGE, file=sys.stderr)
        sys.exit(2)
    install()
    try:
        if args[0] == "-m":
            sys.argv[:] = args[1:]
            _main_globals()
            runpy._run_module_as_main(args[1])
        else:
            sys.argv[:] = args
            _run_path(args[0])
    except SystemExit:
        raise
    except BaseException:
        # On its way out it passes through our frames and runpy's. The hook, the
        # program's own or Python's, gets to see what it would without them.
        sys.excepthook = _without_our_frames(sys.excepthook)
        raise


def _run_path(path: str) -> None:
    # Plain Python makes the name absolute, but does not normalise it.
    path = os.path.join(os.getcwd(), path)
    if pkgutil.get_importer(path) is not None:  # a directory or a zip file
        _set_path0(path)
        _main_globals()
        runpy._run_module_as_main("__main__", alter_argv=False)
        return
    code = _read_code(path)
    _set_path0(os.path.dirname(os.path.realpath(path)))
    namespace = _main_globals()
    namespace["__file__"] = path
    if sys.version_info < (3, 15):
        namespace["__cached__"] = None
    namespace["__loader__"] = importlib.machinery.SourceFileLoader("__main__", path)
    exec(code, namespace)


def _read_code(path: str) -> CodeType:
    try:
        with io.open_code(path) as file:
            code = pkgutil.read_code(file)  # of a .pyc; else None
            if code is None:
                file.seek(0)
                code = compile(file.read(), path, "exec", dont_inherit=True)
            return code
    except OSError as exc:
        _cannot_open(path, exc)


def _cannot_open(path: str, exc: OSError) -> NoReturn:
    python = sys.orig_argv[0]
    reason = f"[Errno {exc.errno}] {exc.strerror}"
    print(f"{python}: can't open file {path!r}: {reason}", file=sys.stderr)
    sys.exit(2)


def _set_path0(entry: str) -> None:
    if not sys.flags.safe_path:
        sys.path[0] = entry


def _main_globals() -> dict[str, Any]:
    """Empty the ``__main__`` module, as a program finds it when it starts."""
    namespace = vars(sys.modules["__main__"])
    builtins = namespace["__builtins__"]
    namespace.clear()
    namespace.update(
        __name__="__main__",
        __doc__=None,
        __package__=None,
        __loader__=None,
        __spec__=None,
        __builtins__=builtins,
    )
    if sys.version_info < (3, 14):
        namespace["__annotations__"] = {}
    return namespace


def _without_our_frames(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Return a ``sys.excepthook`` that hands *hook* the program's frames only."""

    def excepthook(
        kind: type[BaseException], exc: BaseException, tb: TracebackType | None
    ) -> None:
        ours = main.__code__.co_filename
        rest, walk = tb, tb
        while walk is not None:
            if walk.tb_frame.f_code.co_filename == ours:
                rest = walk.tb_next
            walk = walk.tb_next
        hook(kind, exc.with_traceback(rest), rest)

    return excepthook
