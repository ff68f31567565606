"""``python -m evloop``: run an unmodified program with evloop as its loop."""

from evloop._main import main

main()
