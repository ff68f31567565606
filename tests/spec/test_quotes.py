"""The tests of this folder quote the specification exactly, and all of it.

A test's docstring is a quotation: of one statement, or of several with `` ... ``
between them. A module's docstring names the sections that it quotes from, in
emphasis. The text of the specification is no part of this repository: where it
does not lie beside it, there is nothing to compare with.
"""

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SPEC = HERE.parents[1].parent / "shared" / "spec" / "base-event-loop.rst.txt"

# The last section consists of listings, which tests/examples/ holds.
LAST_SECTION = "Event loop examples"

# What no test on Linux can hold, or what states nothing.
NOT_HELD = (
    # About Windows.
    "On Windows with :class:`ProactorEventLoop`, SSL/TLS is not supported.",
    "On Windows with :class:`ProactorEventLoop`, this method is not supported.",
    "On Windows with :class:`SelectorEventLoop`, only socket handles are supported "
    "(ex: pipe file descriptors are not supported).",
    "On Windows with :class:`ProactorEventLoop`, these methods are not supported.",
    "On Windows with :class:`SelectorEventLoop`, these methods are not supported. "
    "Use :class:`ProactorEventLoop` to support pipes on Windows.",
    "This option is not supported on Windows and some UNIX's.",
    "This option is not supported on Windows.",
    # References to other pages.
    "See :ref:`UDP echo client protocol <asyncio-udp-echo-client-protocol>` and "
    ":ref:`UDP echo server protocol <asyncio-udp-echo-server-protocol>` examples.",
    "The :meth:`socket.socket.recv` method.",
    "The :meth:`socket.socket.sendall` method.",
    "The :meth:`BaseEventLoop.create_connection` method, the "
    ":func:`open_connection` function and the :meth:`socket.socket.connect` method.",
    "The :meth:`BaseEventLoop.create_server` method, the :func:`start_server` "
    "function and the :meth:`socket.socket.accept` method.",
    "The :meth:`BaseEventLoop.subprocess_exec` and "
    ":meth:`BaseEventLoop.subprocess_shell` methods.",
    "The :mod:`signal` module.",
    # Headings of lists, and history.
    "The event loop is the central execution device provided by :mod:`asyncio`. "
    "It provides multiple facilities, including:",
    "Options allowing to change how the connection is created:",
    "Options changing how the connection is created:",
    "Parameters:",
    "This method was added in Python 3.4.2.",
    "The *host* parameter can now be a sequence of strings.",
    "because",
)

MARKUP = re.compile(
    r"\.\. _[\w-]+:"
    r"|\.\. currentmodule:: \w+"
    r"|\.\. version(added|changed):: [\d.]+"
    r"|\.\. \w+:: ?(close\(\)|wait_closed\(\)|cancel\(\)|sockets|Server|Handle)?"
    r"|Availability: UNIX( only)?\."
    r"|[#*]|\W"
)


def normalised(text):
    return " ".join(text.split())


def read_sections():
    """The specification's text by section, in one line each."""
    lines = SPEC.read_text().splitlines()
    starts = [n - 1 for n, line in enumerate(lines) if re.fullmatch(r"[=-]{4,}", line)]
    sections = {}
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        sections[lines[start]] = normalised("\n".join(lines[start + 2 : end]))
    return sections


def read_quotes():
    """(file, section names, test, quoted statements) of each test here."""
    for path in sorted(HERE.glob("test_*.py")):
        if path == Path(__file__):
            continue
        module = ast.parse(path.read_text())
        named = re.findall(r"\*(.+?)\*", normalised(ast.get_docstring(module)))
        for node in module.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                text = ast.get_docstring(node)
                if text is None and named:
                    pytest.fail(f"{path.name}: {node.name}() quotes nothing")
                if named:
                    statements = normalised(text).split(" ... ")
                    yield path.name, named, node.name, statements
            elif isinstance(node, ast.Assign) and node.targets[0].id == "QUOTES":
                for quote in ast.literal_eval(node.value):
                    yield path.name, None, "QUOTES", [quote]


@pytest.fixture(scope="module")
def sections():
    if not SPEC.exists():
        pytest.skip(f"the specification is not at ../shared/spec/{SPEC.name}")
    return read_sections()


def test_quotes_are_exact(sections):
    wrong = []
    for file, named, test, statements in read_quotes():
        for statement in statements:
            texts = [sections[name] for name in named or sections]
            if not any(statement in text for text in texts):
                wrong.append(f"{file}: {test}: {statement}")
    assert wrong == []


def without(text, passages):
    """*text* with a bar for every stretch of it that lies in one of *passages*."""
    rest = list(text)
    for passage in passages:
        for found in re.finditer(re.escape(passage), text):
            rest[found.start() : found.end()] = "|" * len(passage)
    return re.sub(r"\|+", "|", "".join(rest))


def test_every_statement_is_held(sections):
    unheld = []
    for name, text in sections.items():
        if name == LAST_SECTION:
            continue
        passages = list(NOT_HELD)
        for _, named, _, statements in read_quotes():
            if named is None or name in named:
                passages += statements
        parts = without(text, passages).split("|")
        unheld += [f"{name}: {part}" for part in parts if MARKUP.sub("", part)]
    assert unheld == []


def test_no_passage_is_left_out_in_vain(sections):
    text = " ".join(sections.values())
    assert [passage for passage in NOT_HELD if passage not in text] == []
