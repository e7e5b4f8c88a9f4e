"""Compiles every .pyx of sipcore/, workers/ and benchmarks/; the metadata is in pyproject.toml.

VIADUCT_FLAVOUR picks how: release (default), debug (asserts kept), asan (ASan + UBSan), trace (line tracing).
Switching flavours needs `build_ext --force`.
"""

import os
from glob import glob

from Cython.Build import cythonize
from setuptools import Extension, setup  # before Cython: it patches distutils

FLAVOUR = os.environ.get("VIADUCT_FLAVOUR", "release")

COMPILE = {
    # python -m benchmarks.route: 7,860 instructions a datagram; 7,872 with vectors, 8,280 with -O2
    "release": ["-O3", "-fno-tree-vectorize", "-g0", "-fno-plt", "-fno-semantic-interposition",
                "-DCYTHON_WITHOUT_ASSERTIONS=1"],
    "debug": ["-O1", "-g", "-fno-omit-frame-pointer"],
    "asan": ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
    "trace": ["-O0", "-DCYTHON_TRACE=1"],
}
LINK = {"asan": ["-fsanitize=address,undefined"]}
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": FLAVOUR in ("debug", "asan"),
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": True,
    "linetrace": FLAVOUR == "trace",
}

if FLAVOUR not in COMPILE:
    raise SystemExit(f"VIADUCT_FLAVOUR={FLAVOUR}: expected one of {', '.join(COMPILE)}")

extensions = [
    Extension(
        path[:-4].replace(os.sep, "."),
        [path],
        extra_compile_args=["-Wall", "-Wno-unused-function", *COMPILE[FLAVOUR]],
        extra_link_args=LINK.get(FLAVOUR, []),
    )
    for package in ("sipcore", "workers", "benchmarks")
    for path in sorted(glob(f"{package}/*.pyx"))
]

setup(ext_modules=cythonize(extensions, compiler_directives=DIRECTIVES, nthreads=os.cpu_count() or 1, annotate=False))
