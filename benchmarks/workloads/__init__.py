"""The workloads, a module for each group; importing them registers them."""

from . import core, tasks

__all__ = ("core", "tasks")
