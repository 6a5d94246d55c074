"""The extension modules: each Cython source becomes one C file, compiled once per CPU level."""

import glob
import os
import sys
import sysconfig
import tempfile

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

OPERATIONS = ["conv", "conv_winograd", "im2col", "pool", "batchnorm", "groupnorm", "flash", "pse"]
OPERATIONS += ["activations", "losses", "optim", "upsample"]
# Facts, choices and steps that follow one another: nothing for vectors.
ONE_LEVEL = ["host", "patterns", "conv_rule", "capi"]
# The target's name, not the host's; a universal2 build for macOS is none of the two and gets one
# level. ARCHFLAGS is how macOS builds for the other architecture.
TARGET = os.environ.get("ARCHFLAGS", "").replace("-arch ", "") or sysconfig.get_platform()
X86 = TARGET.endswith(("x86_64", "amd64")) and "arm64" not in TARGET
AVX2 = ["-mavx2", "-mfma", "-mbmi", "-mbmi2"]
AVX512 = [f"-mavx512{part}" for part in ("f", "bw", "cd", "dq", "vl")]
GNU_FLAGS = {"v3": AVX2, "v4": [*AVX2, *AVX512]}
MSVC_FLAGS = {"v3": ["/arch:AVX2"], "v4": ["/arch:AVX512"]}
# Contraction is off: a multiply-add is fused where the source says so and nowhere else,
# so that a result does not change with the compiler or with the way work is split.
GNU = ["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]
# Rows are often too short for the price of a call to memcpy, which gcc makes of a copying loop.
GNU += ["-fno-tree-loop-distribute-patterns"]
# Many Pythons pass -g to their extensions, which makes ours six times as large.
DEBUG = bool(os.environ.get("VOXKERN_DEBUG"))
GNU += ["-g" if DEBUG else "-g0"]
# Names that only a debugger reads are a tenth of a module.
STRIPPED = ["-Wl,-s"] if sys.platform == "linux" and not DEBUG else []
HOMEBREW = "/opt/homebrew/opt/libomp", "/usr/local/opt/libomp"


class BuildLevels(build_ext):
    """Build each extension in a folder of its own: the levels share the name of their C file."""

    def initialize_options(self):
        super().initialize_options()
        self.parallel = os.cpu_count()

    def build_extensions(self):
        self.openmp = openmp(self.compiler)
        super().build_extensions()

    def build_extension(self, ext):
        twin = BuildLevels(self.distribution)
        twin.__dict__.update(self.__dict__)
        twin.build_temp = os.path.join(self.build_temp, ext.name)
        level = ext.name.split(".")[-2]
        if self.compiler.compiler_type == "msvc":
            flags = ["/O2", "/std:c11", *MSVC_FLAGS.get(level, [])]
        else:
            flags = [*GNU, *GNU_FLAGS.get(level, [])]
        ext.extra_compile_args = [*flags, *self.openmp[0]]
        ext.extra_link_args = [*self.openmp[1], *STRIPPED]
        build_ext.build_extension(twin, ext)


def openmp(compiler):
    """OpenMP's compiler and linker flags; none where it is missing, and kernels use one thread."""
    if os.environ.get("VOXKERN_NO_OPENMP"):
        return [], []
    if compiler.compiler_type == "msvc":
        return ["/openmp"], []
    flags, link = ["-fopenmp"], ["-fopenmp"]
    if sys.platform == "darwin":  # Apple's clang has OpenMP, its driver hides it
        found = [folder for folder in HOMEBREW if os.path.isdir(folder)][:1]
        flags = ["-Xpreprocessor", "-fopenmp", *(f"-I{folder}/include" for folder in found)]
        link = [*(f"-L{folder}/lib" for folder in found), "-lomp"]
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "probe.c")
        with open(source, "w") as file:
            file.write("#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n")
        try:
            objects = compiler.compile([source], folder, extra_postargs=flags)
            compiler.link_executable(objects, "probe", folder, extra_postargs=link)
        except (CompileError, LinkError):
            print("OpenMP was not found: the kernels are built for one thread", file=sys.stderr)
            return [], []
    return flags, link


def extensions():
    """One extension for the host's facts and one per operation and level, sharing C files."""
    depends = ["setup.py", *glob.glob("kernels/native/**/*.h", recursive=True)]
    base = [
        Extension(
            f"voxkern.kernels.native.{name}",
            [f"kernels/native/{name}.pyx"],
            include_dirs=["kernels/native"],
            depends=depends,
        )
        for name in [*ONE_LEVEL, *OPERATIONS]
    ]
    base = cythonize(
        base,
        build_dir="build/cython",
        compiler_directives={
            "language_level": 3,
            "boundscheck": DEBUG,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "freethreading_compatible": True,
            "embedsignature": True,
            "autotestdict": False,
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
        if ext.name.split(".")[-1] not in ONE_LEVEL
    ]
    return base + levels


PARTS = ["keras", "onnx", "pse", "reference", "scipy", "torch"]
KERNELS = ["", ".native", ".native.v3", ".native.v4", ".jit", ".cuda"]
setup(
    packages=["voxkern", *(f"voxkern.{name}" for name in PARTS)]
    + [f"voxkern.kernels{name}" for name in KERNELS],
    package_dir={"": "src", "voxkern.kernels": "kernels"},
    package_data={
        "voxkern": ["py.typed", "data/*"],
        "voxkern.kernels.native": ["*.pyx", "*.pxi", "*.h", "*.pyi", "include/*.h"],
    },
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildLevels},
)
