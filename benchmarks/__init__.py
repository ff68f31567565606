"""Time the same work on evloop and on the other event loops for asyncio.

``python -m benchmarks --help`` says how. A workload is a function in
``workloads/``; to add a group, add a module there and import it in
``workloads/__init__.py``.

Three groups are of another kind, servers under load. ``sockets``, with its rows in
``sockets.py``: echo servers (``servers.py``) under a client in C (``load.c``), next
to a server in C (``echo.c``). ``tls``, the same by TLS: ``tls.py``,
``tlsservers.py``, ``tlsload.c``, ``tlsecho.c``. ``http``, with its rows in
``web.py``: web servers (``webservers.py``) under wrk.
"""
