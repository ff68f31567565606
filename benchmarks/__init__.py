"""Time the same work on evloop and on the other event loops for asyncio.

``python -m benchmarks --help`` says how. A workload is a function in
``workloads/``; to add a group, add a module there and import it in
``workloads/__init__.py``.
"""
