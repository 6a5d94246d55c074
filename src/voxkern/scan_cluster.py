"""``scan`` on the workers of a Dask cluster: a task for each video."""

import os
from contextlib import contextmanager
from pathlib import Path

from distributed import Client, LocalCluster, as_completed

from voxkern import scan

SECONDS = 10  # to wait for a scheduler
RETRIES = 2  # where a task cannot begin or end; a lost worker's go to others in any case


@contextmanager
def connected(scheduler, workers):
    """A client of the scheduler at an address, or of so many processes of our own."""
    if scheduler:
        with Client(scheduler, timeout=SECONDS) as client:
            yield client
        return
    options = {"threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(n_workers=workers, **options) as cluster, Client(cluster) as client:
        yield client


def examined(client, paths, profiles, files, write):
    """Paths and their outcomes, as they come; workers must see the files under the same paths.

    A video whose workers die one after the other, more often than the scheduler allows, is an
    error. Raises OSError where the scheduler is lost.
    """
    tasks = {}
    for path in paths:
        own = {option: Path(os.path.abspath(file)) for option, file in files[path].items()}
        arguments = Path(os.path.abspath(path)), profiles, own, write, scan.silent
        tasks[client.submit(scan.examine, *arguments, pure=False, retries=RETRIES)] = path
    for future in as_completed(list(tasks)):
        path = tasks.pop(future)
        if future.cancelled():
            raise OSError("the scheduler was lost")
        error = future.exception()
        yield path, scan.failed(path, profiles, error) if error else future.result()
