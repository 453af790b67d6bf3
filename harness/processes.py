"""Processes that this project starts beside its own."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from functools import cache

WATCH = 0.5  # seconds between two looks at whether the parent is still there


@cache
def end_with(parent: int) -> None:
    """Have this process end as soon as its parent has, however that ended.

    Args:
        parent: its process ID. Asked of the system here, it could be the one that came after.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def helpers() -> ProcessPoolExecutor:
    """Two processes for parts of one task. Ctrl-C is left to this one; they end with it."""
    # Forked where that is usual, so that what is imported is there; and children of this process,
    # which those of the fork server, Python 3.14's default, are not.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    return ProcessPoolExecutor(2, context, initializer=_help, initargs=(os.getpid(),))


def _help(parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(parent)
