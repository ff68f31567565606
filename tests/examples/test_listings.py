"""The specification's own listings are the examples, line by line.

The specification's text has lost the listings' indentation, so that is not
compared. The listings are kept here too, for where the specification is not.
"""

from pathlib import Path

import pytest

HERE = Path(__file__).parent
LISTINGS = HERE / "listings.rst.txt"
SPEC = HERE.parents[1].parent / "shared" / "spec" / "base-event-loop.rst.txt"

NAMES = ("hello_world.py", "display_date.py", "watch_fd.py", "signals.py")

# What follows a listing: the text has lost the blank lines too.
AFTER = (".. seealso::", "This example only works on UNIX.")


def read_listings(path):
    """The lines of each listing, by the example's name."""
    _, _, section = path.read_text().partition("Event loop examples\n")
    listings = []
    inside = False
    for line in section.splitlines():
        if line.startswith(AFTER):
            inside = False
        elif line.endswith("::"):
            inside = True
            listings.append([])
        elif inside:
            listings[-1].append(line)
    return dict(zip(NAMES, listings, strict=True))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("source", [LISTINGS, SPEC], ids=["kept", "specification"])
def test_example_is_the_listing(examples, source, name):
    if not source.exists():
        pytest.skip(f"the specification is not at ../shared/spec/{SPEC.name}")
    text = (examples / name).read_text()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert lines == read_listings(source)[name]
