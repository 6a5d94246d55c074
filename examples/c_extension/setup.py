"""Build with ``pip install --no-build-isolation examples/c_extension``; voxkern must be there."""

from setuptools import Extension, setup

import voxkern

setup(
    name="voxkern-c-example",
    version="0.1.0",
    py_modules=[],
    ext_modules=[Extension("blur", ["blur.c"], include_dirs=[voxkern.get_include()])],
)
