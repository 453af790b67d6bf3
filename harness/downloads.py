"""Files whose checksum is known: read from disk, or downloaded from the first mirror that works."""

import hashlib
import os
import queue
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from harness.errors import UserError
from harness.files import read_bytes, shown

STALL = 30  # seconds that a mirror may be silent
TOTAL = 900  # seconds that one download may take: 26 MB need 30 kB/s
ABANDONED = 3600  # seconds without a write after which no download can be alive
PIECE = 64 * 1024  # bytes


@dataclass(frozen=True)
class Expected:
    """What a file must be: its SHA-256 or MD5 in hexadecimal, and its bytes."""

    digest: str
    size: int

    def hash(self, data: bytes = b"") -> "hashlib._Hash":
        algorithm = "sha256" if len(self.digest) == 64 else "md5"
        return hashlib.new(algorithm, data, usedforsecurity=False)


class MirrorFailed(Exception):
    """Why a mirror did not give the file."""


def read_or_download(
    path: Path,
    expected: Expected,
    mirrors: list[str],
    stall: float = STALL,
    total: float = TOTAL,
) -> bytes:
    """The file's verified bytes; where it is missing, the mirrors are asked one after the other.

    Any number of processes may do this at once: each downloads into a file of its own, which
    takes its place whole.

    Args:
        mirrors: addresses of folders, with a slash at the end; none: nothing is downloaded.
        stall: seconds that a mirror may be silent.
        total: seconds that one download may take.

    Raises:
        UserError: the file is missing and no mirror gave it, or it is another file.
        OSError: it cannot be read or written.
    """
    _remove_leftovers(path)
    if mirrors and not path.exists():
        _download(path, expected, mirrors, stall, total)
    data = read_bytes(path, most=expected.size)
    if expected.hash(data).hexdigest() != expected.digest:
        raise UserError(
            f"'{shown(path)}' is not the official archive ({len(data):,} bytes, other checksum)"
        )
    return data


def _remove_leftovers(path: Path) -> None:
    """Remove what killed processes left, and nothing that a live one may be writing."""
    for leftover in path.parent.glob(f".{path.name}.*.tmp"):
        with suppress(OSError):  # another process was faster, or the folder is read-only
            if time.time() - leftover.stat().st_mtime > ABANDONED:
                leftover.unlink()


def _download(
    path: Path, expected: Expected, mirrors: list[str], stall: float, total: float
) -> None:
    tried = []
    for url in (mirror + path.name for mirror in mirrors):
        print(f"downloading {url}", flush=True)
        try:
            _save(_receive(url, expected.size, stall, total), path, expected)
            return
        except MirrorFailed as failure:
            tried.append(f"{url}: {failure}")
    raise UserError(f"'{shown(path)}' is missing and could not be downloaded ({'; '.join(tried)})")


def _save(pieces: Iterator[bytes], path: Path, expected: Expected) -> None:
    """Write `path` whole and verified or not at all, with a progress bar on a terminal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    digest = expected.hash()
    hidden = not sys.stderr.isatty()
    try:
        with (
            os.fdopen(handle, "wb") as file,
            tqdm(total=expected.size, unit="B", unit_scale=True, disable=hidden) as bar,
        ):
            for piece in pieces:
                file.write(piece)
                digest.update(piece)
                bar.update(len(piece))
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != expected.digest:
            raise MirrorFailed("other checksum")
        os.chmod(temporary, 0o644)  # mkstemp's files are private
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _receive(url: str, size: int, stall: float, total: float) -> Iterator[bytes]:
    """The answer's pieces, at most `size` bytes within `total` seconds.

    They are read in a thread of their own: a time-out of the socket holds for one read, and a
    header, a name server or a chain of redirects that trickles would keep us for ever.

    Raises:
        MirrorFailed: whatever goes wrong.
    """
    deadline = time.monotonic() + total
    pieces: queue.SimpleQueue[bytes | Exception] = queue.SimpleQueue()
    thread = threading.Thread(target=_read, args=(url, size, stall, deadline, pieces), daemon=True)
    thread.start()
    while True:
        try:
            piece = pieces.get(timeout=max(0, deadline - time.monotonic()))
        except queue.Empty:
            raise MirrorFailed(f"not finished after {total:g} s") from None
        if isinstance(piece, Exception):
            reason = getattr(piece, "reason", None) or str(piece) or type(piece).__name__
            raise MirrorFailed(shown(reason)[:200]) from piece
        if not piece:
            return
        yield piece


def _read(
    url: str,
    size: int,
    stall: float,
    deadline: float,
    pieces: "queue.SimpleQueue[bytes | Exception]",
) -> None:
    """Put the answer into `pieces`, and at the end b"" or the exception that ended it."""
    try:
        with urllib.request.urlopen(url, timeout=stall) as answer:
            if answer.length is not None and answer.length != size:
                raise MirrorFailed(f"{answer.length:,} bytes are announced instead of {size:,}")
            received = 0
            while time.monotonic() < deadline:  # after which nobody listens
                piece = answer.read1(PIECE)  # what is there, without waiting for more
                received += len(piece)
                if received > size or (not piece and received < size):
                    raise MirrorFailed(f"{received:,} bytes came instead of {size:,}")
                pieces.put(piece)
                if not piece:
                    return
    # urllib and what it calls raise almost anything on a bad answer: ValueError and UnicodeError
    # for a redirect to no address, LookupError where a codec is missing. None may end the run.
    except Exception as error:
        pieces.put(error)
