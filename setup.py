"""The extension modules: each Cython source becomes one C file, compiled once per CPU level."""

import glob
import os
import platform
import sys

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

OPERATIONS = ["conv", "im2col", "pool", "batchnorm", "flash"]
X86 = platform.machine().lower() in ("x86_64", "amd64")
AVX2 = ["-mavx2", "-mfma", "-mbmi", "-mbmi2"]
AVX512 = [f"-mavx512{part}" for part in ("f", "bw", "cd", "dq", "vl")]
GNU_FLAGS = {"v3": AVX2, "v4": [*AVX2, *AVX512]}
MSVC_FLAGS = {"v3": ["/arch:AVX2"], "v4": ["/arch:AVX512"]}
# Contraction is off: a multiply-add is fused where the source says so and nowhere else,
# so that a result does not change with the compiler or with the way work is split.
GNU = ["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]


class BuildLevels(build_ext):
    """Build each extension in a folder of its own: the levels share the name of their C file."""

    def initialize_options(self):
        super().initialize_options()
        self.parallel = os.cpu_count()

    def build_extension(self, ext):
        twin = BuildLevels(self.distribution)
        twin.__dict__.update(self.__dict__)
        twin.build_temp = os.path.join(self.build_temp, ext.name)
        ext.extra_compile_args, ext.extra_link_args = flags(ext.name, self.compiler.compiler_type)
        build_ext.build_extension(twin, ext)


def flags(name, compiler):
    """Compiler and linker flags of one extension, for its level."""
    level = name.split(".")[-2]
    if compiler == "msvc":
        openmp = [] if os.environ.get("VOXKERN_NO_OPENMP") else ["/openmp"]
        return ["/O2", "/std:c11", *openmp, *MSVC_FLAGS.get(level, [])], []
    openmp = ["-fopenmp"]
    if sys.platform == "darwin":  # Apple's clang has OpenMP, its driver hides it
        openmp = ["-Xpreprocessor", "-fopenmp"]
    link = ["-lomp"] if sys.platform == "darwin" else ["-fopenmp"]
    if os.environ.get("VOXKERN_NO_OPENMP"):
        openmp, link = [], []
    return [*GNU, *openmp, *GNU_FLAGS.get(level, [])], link


def extensions():
    """One extension for the host's facts and one per operation and level, sharing C files."""
    depends = ["setup.py", *glob.glob("kernels/native/*.h")]
    base = [
        Extension(
            f"voxkern.kernels.native.{name}",
            [f"kernels/native/{name}.pyx"],
            include_dirs=["kernels/native"],
            depends=depends,
        )
        for name in ["host", *OPERATIONS]
    ]
    base = cythonize(
        base,
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": bool(os.environ.get("VOXKERN_DEBUG")),
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "freethreading_compatible": True,
            "embedsignature": True,
        },
    )
    levels = [
        Extension(
            ext.name.replace(".native.", f".native.{level}."),
            ext.sources,
            include_dirs=ext.include_dirs,
            depends=ext.depends,
        )
        for level in (["v3", "v4"] if X86 else [])
        for ext in base
        if not ext.name.endswith(".host")
    ]
    return base + levels


KERNELS = ["", ".native", ".native.v3", ".native.v4", ".jit", ".cuda"]
setup(
    packages=["voxkern", "voxkern.reference"] + [f"voxkern.kernels{name}" for name in KERNELS],
    package_dir={"": "src", "voxkern.kernels": "kernels"},
    package_data={
        "voxkern": ["py.typed", "data/*"],
        "voxkern.kernels.native": ["*.pyx", "*.h", "*.pyi"],
    },
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildLevels},
)
