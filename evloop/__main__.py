"""``python -m evloop``: run an unmodified program with evloop as its loop."""

import runpy
import sys

import evloop

USAGE = "usage: python -m evloop [-m module | script.py] [arguments ...]"


def main() -> None:
    """Install the policy, then run a script or a module as Python would."""
    args = sys.argv[1:]
    if not args or args == ["-m"] or args[0] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if args[:1] > ["-m"] else sys.stderr)
        sys.exit(0 if args and args[0] in ("-h", "--help") else 2)
    evloop.install()
    if args[0] == "-m":
        sys.argv[:] = args[1:]
        runpy.run_module(args[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv[:] = args
        runpy.run_path(args[0], run_name="__main__")


if __name__ == "__main__":
    main()
