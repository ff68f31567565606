"""Build evloop's C extension.

Everything declarative is in pyproject.toml. The environment variable
``EVLOOP_BUILD`` chooses the variant: ``release`` (the default), ``debug``
(asserts, no optimisation), ``hard`` (debug, and every fast path that can be
made unlikely is forced: see src/base.h), ``asan``, ``ubsan`` or ``tsan``.
"""

import os
import shutil
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

STRICT = ["-Wall", "-Wextra", "-Werror", "-Wno-missing-field-initializers"]
DEBUG = ["-O1", "-g3", "-UNDEBUG", "-fno-omit-frame-pointer", *STRICT]
ASAN = ["-fsanitize=address"]
UBSAN = ["-fsanitize=undefined", "-fno-sanitize-recover=all"]
TSAN = ["-fsanitize=thread"]

# variant: (compiler flags, linker flags)
VARIANTS = {
    "release": (["-O3", "-flto", "-DNDEBUG", "-Wall"], ["-O3", "-flto"]),
    "debug": (DEBUG, []),
    "hard": ([*DEBUG, "-DEVLOOP_HARD"], []),
    "asan": ([*DEBUG, *ASAN], ASAN),
    "ubsan": ([*DEBUG, *UBSAN], UBSAN),
    "tsan": ([*DEBUG, *TSAN], TSAN),
}
VARIANT = os.environ.get("EVLOOP_BUILD", "release")
COMPILE, LINK = VARIANTS[VARIANT]


class BuildExt(build_ext):
    """Build each variant in a folder of its own; serve a checkout too."""

    def finalize_options(self):
        super().finalize_options()
        self.build_temp = f"{self.build_temp}-{VARIANT}"

    def run(self):
        super().run()
        if not self.inplace:
            self._copy_beside_sources()

    def _copy_beside_sources(self):
        """Let ``python -m evloop`` work in a checkout, whose folder shadows us."""
        for ext in self.extensions:
            built = Path(self.get_ext_fullpath(ext.name))
            beside = Path(*ext.name.split(".")[:-1]) / built.name
            if os.access(beside.parent, os.W_OK):
                shutil.copy2(built, beside)


setup(
    ext_modules=[
        Extension(
            "evloop._core",
            sources=sorted(glob("src/*.c")),
            depends=sorted(glob("src/*.h")),
            extra_compile_args=["-std=c11", "-fvisibility=hidden", *COMPILE],
            libraries=["dl"],
            extra_link_args=LINK,
        )
    ],
    cmdclass={"build_ext": BuildExt},
)
