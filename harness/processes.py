"""Processes that this project starts beside its own."""

import os
import threading
import time
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
