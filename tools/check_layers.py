"""Check that each C file knows only the files of its own layer or lower ones.

A file is known by its stem: a header is in the layer of what it describes. A
file that the table lacks is an error, and so is one that is too long to read.
"""

import re
import sys
from pathlib import Path

# From the bottom up: the stems of the files in each layer.
LAYERS = (
    "base compat list heap ring freelist state err buf args gen mro wqueue",
    "sys addr mmsg poll poll_epoll",
    "loop looppoll loophooks source handle handleobj timer inbox signal watch",
    "future futurecalls futureobj futureiter task taskrun taskobj registry",
    "transport transporterror transportstart transportextra transportobj transporttypes"
    " clients stream streamread streamfeed datagram pipe",
    "tlslib tlsengine tls tlshandshake tlsobj tlstransport tlssetup",
    "server sockops sockcall sockwait resolve process",
    "module loopobj looprun loopcalls loopservice looptransport loopview",
)
MAX_LINES = 800
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')

layer_of = {stem: n for n, stems in enumerate(LAYERS) for stem in stems.split()}


def problems(path):
    """Yield what is wrong with one C file, as "file:line: text"."""
    lines = path.read_text().splitlines()
    if len(lines) > MAX_LINES:
        yield f"{path}:{MAX_LINES + 1}: longer than {MAX_LINES} lines ({len(lines)})"
    own = layer_of.get(path.stem)
    if own is None:
        yield f"{path}:1: in no layer of {Path(__file__).name}"
        return
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if match is None:
            continue
        name = match[1]
        other = layer_of.get(Path(name).stem)
        if other is None:
            yield f"{path}:{number}: {name} is in no layer"
        elif other > own:
            yield f"{path}:{number}: layer {own} includes {name} of layer {other}"


def main():
    source = Path(sys.argv[1] if len(sys.argv) > 1 else "src")
    found = [p for path in sorted(source.glob("*.[ch]")) for p in problems(path)]
    print("\n".join(found) or "layers: in order")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
