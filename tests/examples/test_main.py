"""``python -m evloop``: a program cannot tell it from plain Python.

Each program runs by both. What it prints, how it ends, and the traceback it
leaves must be the same.
"""

import json
import os
import re
import signal
import zipfile

import pytest

# What a program can see of how it was started.
FACTS = """\
"The program's docstring."
import json, sys
print(json.dumps({
    "argv": sys.argv,
    "path": sys.path,
    "name": __name__,
    "file": globals().get("__file__"),
    "package": __package__,
    "doc": __doc__,
    "spec": __spec__ and [__spec__.name, __spec__.origin, __spec__.parent],
    "loader": type(__loader__).__name__,
    "builtins": type(__builtins__).__name__,
    "globals": sorted(globals()),
    "main": vars(sys.modules["__main__"]) is globals(),
    "executable": sys.executable,
    "stdin": sys.stdin.read(),
}))
"""


def facts(outcome):
    assert outcome.stderr == ""
    assert outcome.returncode == 0
    return json.loads(outcome.stdout)


def without_runpy(stderr):
    """A traceback without the frames of runpy, which plain Python has for -m."""
    return re.sub(r'  File "<frozen runpy>", .*\n(    .*\n)*', "", stderr)


@pytest.fixture
def same_facts(run_both):
    """Run FACTS by both, with facts of which some are known; return all."""

    def same_facts(*arguments, **kwargs):
        plain, native = (facts(o) for o in run_both(*arguments, **kwargs))
        assert native == plain
        return native

    return same_facts


def test_script(write, same_facts):
    script = write("folder/script.py", FACTS)
    seen = same_facts(script, "-m", "--help", "a b", "")
    assert seen["argv"] == [str(script), "-m", "--help", "a b", ""]
    assert seen["path"][0] == str(script.parent)
    assert seen["name"] == "__main__"
    assert seen["file"] == str(script)
    assert seen["main"] is True


def test_script_by_relative_path(write, same_facts, tmp_path):
    write("folder/script.py", FACTS)
    seen = same_facts("folder/script.py")
    assert seen["argv"] == ["folder/script.py"]
    assert seen["path"][0] == str(tmp_path / "folder")


def test_script_by_symbolic_link(write, same_facts, tmp_path):
    script = write("folder/script.py", FACTS)
    (tmp_path / "link.py").symlink_to(script)
    assert same_facts("link.py")["path"][0] == str(script.parent)


def test_script_without_extension(write, same_facts):
    write("script", FACTS)
    assert same_facts("script")["name"] == "__main__"


def test_standard_input(write, same_facts):
    text = "for the script\nto read\n"
    assert same_facts(write("script.py", FACTS), stdin=text)["stdin"] == text


def test_module(write, same_facts, tmp_path):
    module = write("module.py", FACTS)
    seen = same_facts("-m", "module", "-m", "argument")
    assert seen["argv"] == [str(module), "-m", "argument"]
    assert seen["path"][0] == str(tmp_path)
    assert seen["spec"] == ["module", str(module), ""]
    assert seen["main"] is True


def test_module_of_a_package(write, same_facts):
    write("package/__init__.py", "")
    module = write("package/module.py", FACTS)
    seen = same_facts("-m", "package.module")
    assert seen["package"] == "package"
    assert seen["spec"] == ["package.module", str(module), "package"]


def test_package(write, same_facts):
    write("package/__init__.py", "")
    main = write("package/__main__.py", FACTS)
    seen = same_facts("-m", "package", "argument")
    assert seen["argv"] == [str(main), "argument"]
    assert seen["name"] == "__main__"


def test_folder(write, same_facts, tmp_path):
    write("folder/__main__.py", FACTS)
    seen = same_facts("folder", "argument")
    assert seen["argv"] == ["folder", "argument"]
    assert seen["path"][0] in ("folder", str(tmp_path / "folder"))


def test_zip(same_facts, tmp_path):
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.writestr("__main__.py", FACTS)
    assert same_facts("program.zip")["name"] == "__main__"


@pytest.mark.parametrize("options", [("-P",), ("-I",), ("-E",), ("-s", "-B", "-O")])
def test_options_of_the_interpreter(write, same_facts, options):
    script = write("folder/script.py", FACTS)
    same_facts(script, options=options)


def test_safe_path_and_modules(write, same_facts, tmp_path):
    write("library/module.py", FACTS)
    same_facts("-m", "module", options=("-P",), env={"PYTHONPATH": "library"})


PROGRAMS = {
    "ends": "print('the end')",
    "exit": "import sys; sys.exit()",
    "exit 0": "import sys; sys.exit(0)",
    "exit 3": "import sys; sys.exit(3)",
    "exit -1": "import sys; sys.exit(-1)",
    "exit True": "import sys; sys.exit(True)",
    "exit text": "import sys; sys.exit('what went wrong')",
    "exit tuple": "raise SystemExit(('what', 'went', 'wrong'))",
    "exit within asyncio": """\
import asyncio, sys
async def main():
    sys.exit(4)
asyncio.run(main())
""",
    "exception": """\
def outer():
    inner()
def inner():
    raise ValueError("what went wrong")
outer()
""",
    "exception at top level": "1/0",
    "chained exceptions": """\
try:
    try:
        {}["key"]
    except KeyError as exc:
        raise ValueError("the second") from exc
except ValueError:
    raise RuntimeError("the third")
""",
    "exception group": "raise ExceptionGroup('all', [ValueError(1), KeyError(2)])",
    "syntax error": "def function(:\n    pass\n",
    "indentation error": "if True:\nprint()\n",
    "exception in an import": "import faulty",
    "missing import": "import missing_module",
    "excepthook": """\
import sys
sys.excepthook = lambda kind, exc, traceback: print(
    "hook:", kind, exc, traceback.tb_frame.f_code.co_name, traceback.tb_next
)
raise ValueError("what went wrong")
""",
    "traceback by hand": """\
import traceback
try:
    1/0
except ZeroDivisionError:
    traceback.print_exc()
""",
    "warning": "import warnings\nwarnings.warn('look here')\n",
    "keyboard interrupt": "raise KeyboardInterrupt",
    "killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "os._exit": "import os; os._exit(7)",
    "atexit": """\
import atexit
value = "still there"
atexit.register(lambda: print(value))
raise SystemExit(5)
""",
    "thread goes on": """\
import threading
value = "still there"
def work():
    threading.main_thread().join()
    print(value)
threading.Thread(target=work).start()
""",
    "no future flags": """\
def function(argument: 1 + 1): ...
print(function.__annotations__)
""",
    "source": """\
import inspect
def function():
    return "its source"
print(inspect.getsource(function))
""",
    "pickle": """\
import pickle
class Thing:
    pass
print(type(pickle.loads(pickle.dumps(Thing()))) is Thing)
print(Thing.__module__)
""",
    "main module": """\
import __main__
value = 1
print(__main__.value, __main__.__name__)
""",
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_same_as_plain(write, run_both, name):
    write(
        "folder/faulty.py", "def fail():\n    raise ValueError('at import')\nfail()\n"
    )
    script = write("folder/script.py", PROGRAMS[name])
    plain, native = run_both(script)
    assert native == plain


@pytest.mark.parametrize(
    "name", ["exception", "exit 3", "exit text", "syntax error", "keyboard interrupt"]
)
def test_same_as_plain_for_modules(write, run_both, name):
    write("package/__init__.py", "")
    write("package/module.py", PROGRAMS[name])
    plain, native = run_both("-m", "package.module")
    assert native.returncode == plain.returncode
    assert without_runpy(native.stderr) == without_runpy(plain.stderr)
    assert native.stdout == plain.stdout


def test_exit_statuses(write, run_evloop):
    statuses = {
        name: run_evloop(write("script.py", PROGRAMS[name])).returncode
        for name in ("ends", "exit 3", "exit text", "exception", "keyboard interrupt")
    }
    assert list(statuses.values()) == [0, 3, 1, 1, -signal.SIGINT]


@pytest.mark.parametrize(
    "arguments",
    [
        ("missing.py",),
        ("missing/missing.py", "argument"),
        ("empty",),
        ("-m", "missing"),
        ("-m", "missing.module"),
        ("-m", "package"),
        ("-m", "package.missing"),
        ("-m", "faulty"),
    ],
    ids="_".join,
)
def test_nothing_to_run(write, run_both, arguments):
    write("empty/nothing", "")
    write("package/__init__.py", "")
    write("faulty/__init__.py", "raise ImportError('what went wrong')")
    write("faulty/__main__.py", "")
    plain, native = run_both(*arguments)
    assert without_runpy(native.stderr) == without_runpy(plain.stderr)
    assert native.returncode == plain.returncode != 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_script_not_readable(write, run_both):
    script = write("script.py", "")
    script.chmod(0)
    plain, native = run_both(script)
    assert native == plain
    assert native.returncode == 2


# They wait again and again, for a signal may come just before a wait begins.
INTERRUPTED = {
    "waiting": """\
import time
print("ready", flush=True)
while True:
    time.sleep(0.01)
""",
    "asyncio": """\
import asyncio
async def main():
    print("ready", flush=True)
    while True:
        await asyncio.sleep(0.01)
asyncio.run(main())
""",
    "busy": "print('ready', flush=True)\nwhile True: pass\n",
}


@pytest.mark.parametrize("name", INTERRUPTED)
def test_keyboard_interrupt(spawn, runner, write, name):
    program = spawn(*runner, write("script.py", INTERRUPTED[name]))
    assert program.read_line() == "ready\n"
    program.send_signal(signal.SIGINT)
    outcome = program.outcome()
    assert outcome.returncode == -signal.SIGINT
    assert outcome.stderr.endswith("KeyboardInterrupt\n")
    assert "evloop/__main__.py" not in outcome.stderr


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help(run_evloop, option):
    outcome = run_evloop(option)
    assert outcome.stdout.startswith("usage: python -m evloop ")
    assert "-m module" in outcome.stdout
    assert (outcome.returncode, outcome.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [(), ("-m",), ("--no-such-option",)])
def test_usage(run_evloop, arguments):
    outcome = run_evloop(*arguments)
    assert "usage: python -m evloop " in outcome.stderr
    assert (outcome.returncode, outcome.stdout) == (2, "")


LOOPS = {
    "get_event_loop": """\
import asyncio
loop = asyncio.get_event_loop()
assert asyncio.get_event_loop() is loop
print(type(loop).__mro__)
loop.close()
""",
    "run": """\
import asyncio
async def main():
    print(type(asyncio.get_running_loop()).__mro__)
asyncio.run(main())
""",
    "Runner": """\
import asyncio
with asyncio.Runner() as runner:
    print(type(runner.get_loop()).__mro__)
""",
    "new_event_loop": """\
import asyncio
loop = asyncio.new_event_loop()
print(type(loop).__mro__)
loop.close()
""",
}


@pytest.mark.parametrize("name", LOOPS)
def test_loop_is_evloops(write, run_evloop, name):
    outcome = run_evloop(write("script.py", LOOPS[name]), options=("-W", "error"))
    assert outcome.stderr == ""
    assert outcome.stdout.startswith("(<class 'evloop.")
    assert outcome.returncode == 0


SPAWN = """\
import asyncio, concurrent.futures, multiprocessing, sys

def square(number):
    return number * number

class Thing:
    def __init__(self, number):
        self.number = number

def double(thing):
    return Thing(thing.number * 2)

async def main():
    loop = asyncio.get_running_loop()
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        print(await loop.run_in_executor(pool, square, 12))
        thing = await loop.run_in_executor(pool, double, Thing(21))
        print(type(thing) is Thing, thing.number)

if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.parametrize("module", [False, True], ids=["script", "module"])
def test_multiprocessing(write, run_both, module):
    write("package/__init__.py", "")
    script = write("package/module.py", SPAWN)
    program = ("-m", "package.module") if module else (script,)
    plain, native = run_both(*program)
    assert plain == (0, "144\nTrue 42\n", "")
    assert native == plain
