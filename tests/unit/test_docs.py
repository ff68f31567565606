"""What the documentation says of names, methods and commands is true."""

import ast
import asyncio
import re
import shlex
import sys
from asyncio import base_events, events, selector_events, unix_events
from pathlib import Path

import pytest

import evloop
from evloop import _core

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.rst"))
NATIVE = DOCS / "native.rst"

LOOP_BASES = (
    events.AbstractEventLoop,
    base_events.BaseEventLoop,
    selector_events.BaseSelectorEventLoop,
    unix_events._UnixSelectorEventLoop,
)

NATIVE_TYPES = {
    "builtin_function_or_method",  # __new__
    "classmethod_descriptor",
    "getset_descriptor",
    "method_descriptor",
    "wrapper_descriptor",
}

# Public names that came with a version of Python.
SINCE = {"eager_task_factory": "3.12"}


def read_section(title):
    """Return {name: (whose, first version)} of the tables in one section.

    A name that stands there twice is an error.
    """
    text = NATIVE.read_text()
    section = re.search(
        rf"^{title}\n-+\n(.*?)(?=^\S[^\n]*\n-+\n|\Z)", text, re.MULTILINE | re.DOTALL
    )
    found = {}
    for row in re.split(r"^   \* - ", section[1], flags=re.MULTILINE)[1:]:
        names, whose, _ = re.split(r"^     - ", row, flags=re.MULTILINE)
        for name, version in re.findall(r"``(\w+)``(?: \((3\.\d+)\))?", names):
            assert name not in found, f"{name} is there twice"
            found[name] = whose.strip(), version
    return found


def methods(*classes):
    """The names of all functions in the bodies of *classes*."""
    return {
        name for cls in classes for name, value in vars(cls).items() if callable(value)
    }


def whose(cls, name):
    """Tell by what code an attribute of one of our classes is made."""
    owner = next(base for base in cls.__mro__ if name in vars(base))
    kind = type(vars(owner)[name]).__name__
    if not owner.__module__.startswith("evloop"):
        return "inherited"
    if kind == "member_descriptor":
        return "slot"
    return "native" if kind in NATIVE_TYPES else "ours"


def exists(version):
    """Whether what came with *version* is in the running interpreter."""
    return not version or sys.version_info >= tuple(map(int, version.split(".")))


def check_table(cls, documented, actual):
    assert actual - documented.keys() == set(), "not in the table"
    there = {name for name, (_, version) in documented.items() if exists(version)}
    assert there - actual == set(), "in the table, but not in asyncio"
    said = {name: documented[name][0] for name in there}
    assert said == {name: whose(cls, name) for name in there}


def test_methods_of_the_loop():
    documented = read_section("The loop's methods")
    check_table(evloop.EventLoop, documented, methods(*LOOP_BASES))


def test_native_methods_are_on_every_version():
    for name, (kind, _) in read_section("The loop's methods").items():
        if kind == "native":
            assert whose(evloop.EventLoop, name) == "native"


def test_attributes_of_the_loop(evloop_loop):
    stock = asyncio.SelectorEventLoop()
    stock.close()
    documented = read_section("The loop's attributes")
    check_table(evloop.EventLoop, documented, set(vars(stock)))
    assert vars(evloop_loop) == {}


@pytest.mark.parametrize("name", ["Future", "Task"])
def test_futures(name):
    bases = getattr(asyncio, name).__mro__[:-1]
    attributes = {attr for base in bases for attr in vars(base)}
    actual = attributes - {"__doc__", "__module__"}
    check_table(getattr(evloop, name), read_section(name), actual)


@pytest.mark.parametrize("name", ["Handle", "TimerHandle"])
def test_handles(name):
    theirs = getattr(asyncio, name)
    bases = theirs.__mro__[:-1]
    slots = {slot for base in bases for slot in base.__slots__} - {"__weakref__"}
    documented = read_section(name)
    check_table(getattr(evloop, name), documented, methods(*bases) | slots)


def test_public_names_are_documented():
    text = (DOCS / "api.rst").read_text()
    pattern = r"^\.\. py:(?:function|class|data):: (\w+)"
    names = re.findall(pattern, text, re.MULTILINE)
    there = [name for name in names if exists(SINCE.get(name))]
    assert sorted(there) == sorted(evloop.__all__)


@pytest.mark.parametrize(
    "name", ["EventLoop", "EventLoopPolicy", "Future", "Task", "Handle", "TimerHandle"]
)
def test_public_methods_are_documented(name):
    text = (DOCS / "api.rst").read_text()
    section = re.search(
        rf"^\.\. py:class:: {name}\b(.*?)(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL
    )
    documented = re.findall(
        r"^   (?:\.\. py:(?:method|attribute)::| {14}) (\w+)", section[1], re.MULTILINE
    )
    cls = getattr(evloop, name)
    assert len(documented) == len(set(documented))
    assert {attr for attr in vars(cls) if attr[0] != "_"} <= set(documented)
    assert [method for method in documented if not hasattr(cls, method)] == []


def test_examples_are_mentioned():
    text = "".join(page.read_text() for page in PAGES)
    examples = {path.name for path in DOCS.glob("examples/*.py")}
    assert examples
    assert {name for name in examples if f"``{name}``" not in text} == set()
    assert set(re.findall(r"^- ``(\w+\.py)``", text, re.MULTILINE)) <= examples


def readme_commands():
    text = (ROOT / "README.rst").read_text()
    return re.findall(r"^    (pip install .*)$", text, re.MULTILINE)


def test_readme_installs_and_runs_an_example():
    command, _ = readme_commands()
    *install, script = shlex.split(command)
    assert install == ["pip", "install", ".", "&&", "python", "-m", "evloop"]
    assert (ROOT / script).is_file()


def test_readme_test_command_is_what_ci_runs():
    scripts = [path for path in ROOT.glob(".ci/*") if path.is_file()]
    if not scripts:
        pytest.skip("this copy of the tree has no .ci")
    _, command = readme_commands()
    lines = {line.strip() for path in scripts for line in path.read_text().splitlines()}
    assert command in lines


def test_makefile_words_are_documented():
    makefile = ROOT / "Makefile"
    if not makefile.is_file():
        pytest.skip("this copy of the tree has no Makefile")
    text = makefile.read_text().replace("\\\n", "")
    words = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split()
    page = (DOCS / "contributing.rst").read_text()
    table = re.search(r"^=+  =+\n(.*?)^=+  =+\n", page, re.MULTILINE | re.DOTALL)[1]
    assert re.findall(r"^``([\w-]+)`` ", table, re.MULTILINE) == words


def test_files_of_the_layers_exist():
    sources = ROOT / "src"
    if not sources.is_dir():
        pytest.skip("this copy of the tree has no src")
    text = (DOCS / "design.rst").read_text()
    named = set(re.findall(r"``(\w+\.[ch])``", text))
    files = {path.name for path in sources.iterdir()}
    assert named <= files
    stems = {Path(name).stem for name in named}
    assert {name for name in files if Path(name).stem not in stems} == set()


def test_links_of_the_readme():
    targets = re.findall(r"<([\w./]+)>`_", (ROOT / "README.rst").read_text())
    assert targets
    assert [target for target in targets if not (ROOT / target).is_file()] == []


# Directives and roles of Sphinx, which plain docutils does not know.
SPHINX = re.compile(
    r'(Unknown|No) (directive|interpreted|role).*"(toctree|py:\w+|doc)"'
)


@pytest.mark.parametrize("page", [ROOT / "README.rst", *PAGES], ids=lambda p: p.name)
def test_pages_parse(page):
    core = pytest.importorskip("docutils.core")
    nodes = pytest.importorskip("docutils.nodes")
    settings = {"report_level": 2, "halt_level": 5, "warning_stream": False}
    settings["syntax_highlight"] = "none"  # it would need Pygments
    tree = core.publish_doctree(
        page.read_text(), source_path=str(page), settings_overrides=settings
    )
    messages = [
        message.astext()
        for message in tree.findall(nodes.system_message)
        if message["level"] >= settings["report_level"]
    ]
    assert [text for text in messages if not SPHINX.search(text)] == []


class TestStub:
    """evloop/_core.pyi and the native module say the same."""

    @pytest.fixture
    def stub(self):
        path = Path(evloop.__file__).with_name("_core.pyi")
        return {
            node.name: node
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.ClassDef | ast.FunctionDef)
        }

    def test_names_of_the_module(self, stub):
        public = {name for name in vars(_core) if name[0] != "_"}
        assert public <= stub.keys()
        # The protocol is the stub's own.
        assert stub.keys() - vars(_core).keys() == {"_HasFileno"}

    @pytest.mark.parametrize(
        "name", ["Loop", "Future", "Task", "Handle", "TimerHandle"]
    )
    def test_methods(self, stub, name):
        cls = getattr(_core, name)
        public = {attr for attr in vars(cls) if attr[0] != "_"}
        in_stub = {
            node.name
            for node in ast.walk(stub[name])
            if isinstance(node, ast.FunctionDef)
        }
        assert public <= in_stub
        assert in_stub <= vars(cls).keys()
