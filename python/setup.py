"""The compiled kernels, as pip builds them: latome/kernels/_native.so, in a wheel that fits every Python 3.

It is a library with a plain C interface, loaded by ctypes (latome/kernels/native.py), not a module of Python's.
Where it does not compile, the wheel is built without it and the engine works with torch's operations.
"""

import sys
from glob import glob

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
THREADS = [] if sys.platform == "win32" else ["-pthread"]


class BuildLibrary(build_ext):
    """An extension without Python's own suffix and without an initialising function."""

    def get_ext_filename(self, fullname):
        return fullname.replace(".", "/") + SUFFIX

    def get_export_symbols(self, ext):
        return ext.export_symbols


class AnyPython(bdist_wheel):
    """A wheel bound to the platform alone."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


kernels = Extension(
    "latome.kernels._native",
    sources=["latome/kernels/csrc/kernels.cpp"],
    extra_compile_args=[] if sys.platform == "win32" else ["-std=c++17", "-O2", "-g0", "-fvisibility=hidden", *THREADS],
    extra_link_args=THREADS,
    depends=sorted(glob("latome/kernels/csrc/*")),    # a build folder that was kept must not serve old headers
    language="c++",
    optional=True,
)
setup(ext_modules=[kernels], cmdclass={"build_ext": BuildLibrary, "bdist_wheel": AnyPython})
