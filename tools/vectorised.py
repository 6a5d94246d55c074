"""Report which marked loops the compiler turned into vector code; fail if one is scalar.

A loop that relies on the compiler is marked at the end of the line where it starts, or where the
macro that holds it is used: ``/* vectorised */`` in C, ``# vectorised`` in Cython. Every operation
with such a loop is compiled for every CPU level as setup.py does it. gcc alone is understood.
"""

import glob
import os
import re
import runpy
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor

FOLDER = "kernels/native"
MARK = re.compile(r"(# vectorised|/\* vectorised \*/)\s*\\?$")
REPORT = re.compile(
    r"^(\S+?):(\d+):\d+: optimized: +loop vectorized using (\d+) byte vectors", re.M
)
SOURCE = re.compile(r'/\* "\S*?(\w+\.pyx)":(\d+)')


def marked(path):
    """(file, line) of the marked loops of a file."""
    name = os.path.basename(path)
    with open(path, encoding="utf-8") as file:
        return {(name, number) for number, line in enumerate(file, 1) if MARK.search(line)}


def headers(path):
    """The headers of this folder that a source includes, through others too."""
    with open(path, encoding="utf-8") as file:
        names = re.findall(r'(?:include|cdef extern from) "(\w+\.h)"', file.read())
    paths = {f"{FOLDER}/{name}" for name in names}
    return paths.union(*(headers(found) for found in paths))


def vectorised(source, flags):
    """{(file, line): bytes of a vector} of the loops that the compiler reports in a C source."""
    command = [os.environ.get("CC", "gcc"), *flags, "-fopt-info-vec-optimized", "-c", source]
    command += ["-fopenmp", f"-I{sysconfig.get_path('include')}", f"-I{FOLDER}"]
    run = subprocess.run([*command, "-o", os.devnull], capture_output=True, text=True, check=True)
    with open(source, encoding="utf-8") as file:
        lines, origin, origins = file.readlines(), None, []
    for line in lines:  # Cython says in a comment which of its lines comes next
        if found := SOURCE.search(line):
            origin = found[1], int(found[2])
        origins.append(origin)
    loops = {}
    for path, line, size in REPORT.findall(run.stderr):
        place = os.path.basename(path), int(line)
        if path == source:
            place = origins[int(line) - 1]
        loops[place] = max(int(size), loops.get(place, 0))
    return loops


def main():
    """Compile, print a line for every marked loop, and return whether all are vector code."""
    sys.argv = ["setup.py", "--quiet", "--version"]  # translates what is not up to date
    setup = runpy.run_path("setup.py")
    levels = {"baseline": []} | (setup["GNU_FLAGS"] if setup["X86"] else {})
    marks, sources = set(), []
    for source in sorted(glob.glob(f"{FOLDER}/*.pyx")):
        loops = {loop for path in (source, *headers(source)) for loop in marked(path)}
        if loops:
            marks |= loops
            sources.append(f"build/cython/{source[:-4]}.c")
    jobs = [(level, source) for level in levels for source in sources]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reports = pool.map(lambda job: vectorised(job[1], setup["GNU"] + levels[job[0]]), jobs)
        sizes = {
            (job[0], *loop): size
            for job, report in zip(jobs, reports)
            for loop, size in report.items()
        }
    scalar = 0
    for file, line in sorted(marks):
        found = {level: sizes.get((level, file, line)) for level in levels}
        words = (
            f"{level} {f'{size} bytes' if size else 'SCALAR'}" for level, size in found.items()
        )
        print(f"{file}:{line}", *words, sep="  ")
        scalar += None in found.values()
    return marks and not scalar


if __name__ == "__main__":
    sys.exit(not main())
