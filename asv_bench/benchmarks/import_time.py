"""What `import voxkern` adds to `import numpy`, in new interpreters."""

import subprocess
import sys


def seconds(statement):
    """Time of `statement` after NumPy is there, measured inside of a new interpreter."""
    code = f"""
import numpy, time
began = time.perf_counter()
{statement}
print(time.perf_counter() - began)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return float(done.stdout)


class Import:
    timeout = 60

    def track_milliseconds_on_top_of_numpy(self):
        return 1e3 * min(seconds("import voxkern") for _ in range(10))

    track_milliseconds_on_top_of_numpy.unit = "ms"
