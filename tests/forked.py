"""Processes that begin with their imports done: `multiprocessing`'s fork server has them, and no device of JAX yet."""

import multiprocessing
import signal

CONTEXT = multiprocessing.get_context("forkserver")


USED = ["jaxopt_notes", "xarray", "h5netcdf", "h5py", "filelock", "scipy.stats", "tqdm.auto", "dask.array"]
CONTEXT.set_forkserver_preload(USED)


def killed(process, begun, seconds):
    """Kill a process some time after `begun()` is true; False if it ended before."""
    while process.exitcode is None:
        if begun():
            process.join(seconds)
            process.kill()
            process.join()
            return process.exitcode == -signal.SIGKILL
        process.join(0.01)
    return False


def start(function, *arguments):
    """A process that calls `function`, which a module of this folder holds."""
    process = CONTEXT.Process(target=function, args=arguments)
    process.start()
    return process
