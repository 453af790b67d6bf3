"""Errors that a user can cause: one clear line on stderr and exit code 2, never a traceback.

And what else a script's `main` needs around it.
"""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

INTERRUPTED = "interrupted; a run that was cut resumes with the same command"


class UserError(Exception):
    """Something the user can fix. The message says what is wrong, where, and the fix."""


def exit_cleanly(main: Callable[..., None]) -> Callable[..., None]:
    """Decorate a script's `main`: one line and exit code 2 for user errors, 130 for Ctrl-C.

    A pipe that is closed ends it with 141 and no line.
    """

    @functools.wraps(main)
    def wrapper(*args, **kwargs) -> None:
        script = Path(sys.argv[0]).name
        make_streams_safe()
        share_cores()
        try:
            main(*args, **kwargs)
            sys.stdout.flush()
            return
        except BrokenPipeError:  # the reader, such as `| head`, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(141)  # as a shell reports SIGPIPE: a training may not be finished
        except UserError as error:
            line, code = f"error: {error}", 2
        except KeyboardInterrupt:
            line, code = INTERRUPTED, 130
        except OSError as error:  # a full disk, a read-only folder, a file where a folder should be
            where = f" {error.filename!a}" if error.filename else ""
            reason = error.strerror or str(error)
            line, code = f"error: cannot read or write{where}: {reason}", 2
        print(f"{script}: {line}", file=sys.stderr, flush=True)
        sys.exit(code)

    return wrapper


def make_streams_safe() -> None:
    """Let no output fail: closed streams lead nowhere, and any encoding takes any character."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # the shell's >&-
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - lasts as long as the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def share_cores() -> None:
    """Let a thread that waits for another one leave its core soon, before torch is imported.

    OpenMP's threads wait by counting. GNU's count to 300,000 by default, which on cores that other
    programs use too keeps them from the very thread that they wait for: training took twenty times
    as long. GNU takes 1,000 where it knows of more threads than cores; 3,000 were enough on a
    machine of one's own.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "3000")
