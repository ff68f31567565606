"""Sphinx's configuration: ``sphinx-build -W docs build/docs`` makes the pages."""

import re
from pathlib import Path

_INIT = Path(__file__).parent.parent / "evloop" / "__init__.py"
_VERSION = re.search(r'^__version__ = "(.+)"$', _INIT.read_text(), re.MULTILINE)

project = "evloop"
copyright = "The evloop maintainers"
release = _VERSION[1]
version = ".".join(release.split(".")[:2])

# Tables that another page includes.
exclude_patterns = ["performance-*.rst"]
html_theme = "alabaster"  # comes with Sphinx
