"""Files whose checksum is known: read from disk, or downloaded from the first mirror that works."""

import hashlib
import ipaddress
import queue
import socket
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from harness.errors import UserError
from harness.files import read_bytes, shown, write_atomically

STALL = 30  # seconds that a mirror may be silent
TOTAL = 900  # seconds that one download may take: 26 MB need 30 kB/s
PIECE = 64 * 1024  # bytes


@dataclass(frozen=True)
class Expected:
    """What a file must be: its SHA-256 or MD5 in hexadecimal, and its bytes."""

    digest: str
    size: int

    def fits(self, data: bytes) -> bool:
        algorithm = "sha256" if len(self.digest) == 64 else "md5"
        return hashlib.new(algorithm, data, usedforsecurity=False).hexdigest() == self.digest


def read_or_download(
    path: Path, expected: Expected, mirrors: list[str], stall: float = STALL, total: float = TOTAL
) -> bytes:
    """The file's verified bytes; where it is missing, the mirrors are asked one after the other.

    Any number of processes may do this at once: each writes a file of its own, which takes its
    place whole.

    Args:
        mirrors: addresses of folders, with a slash at the end; none: nothing is downloaded.
        stall: seconds that a mirror may be silent.
        total: seconds that one download may take.

    Raises:
        UserError: the file is missing and no mirror gave it, or it is another file.
        OSError: it cannot be read or written.
    """
    failures = []
    for url in () if path.exists() else (mirror + path.name for mirror in mirrors):
        print(f"downloading {url}", flush=True)
        data = _download(url, expected, stall, total)
        if isinstance(data, bytes):
            write_atomically(path, data)
            return data
        failures.append(f"{url}: {_reason(data, url)}")
    if failures:
        told = "; ".join(failures)
        raise UserError(f"'{shown(path)}' is missing and could not be downloaded ({told})")
    data = read_bytes(path, most=expected.size)
    if not expected.fits(data):
        raise UserError(
            f"'{shown(path)}' is not the official archive ({len(data):,} bytes, other checksum)"
        )
    return data


def _download(url: str, expected: Expected, stall: float, total: float) -> bytes | Exception:
    """The verified answer within `total` seconds, or why there is none.

    It is read in a thread of its own: a time-out of the socket holds for one read, and a header, a
    name server or a chain of redirects that trickles would keep us for ever.
    """
    deadline, answers = time.monotonic() + total, queue.SimpleQueue()

    def read() -> None:
        # urllib and what it calls raise almost anything on a bad answer: ValueError for a redirect
        # to no address, LookupError where a codec is missing. None of it may end the run.
        try:
            answers.put(_read(url, expected, stall, deadline))
        except Exception as error:
            answers.put(error)

    threading.Thread(target=read, daemon=True).start()
    try:
        return answers.get(timeout=total)
    except queue.Empty:
        return TimeoutError(f"not finished after {total:g} s")


def _read(url: str, expected: Expected, stall: float, deadline: float) -> bytes:
    opener, data = urllib.request.build_opener(PublicRedirects), bytearray()
    with (
        opener.open(url, timeout=stall) as answer,
        tqdm(total=expected.size, unit="B", unit_scale=True, disable=None) as bar,
    ):
        if answer.length not in (None, expected.size):
            announced = f"{answer.length:,} bytes are announced"
            raise ValueError(f"{announced} instead of {expected.size:,}")
        while len(data) <= expected.size and time.monotonic() < deadline:  # then nobody listens
            piece = answer.read1(PIECE)  # what is there, without waiting for more
            if not piece:
                break
            data += piece
            bar.update(len(piece))
    if len(data) != expected.size:
        raise ValueError(f"{len(data):,} bytes came instead of {expected.size:,}")
    if not expected.fits(data):
        raise ValueError("other checksum")
    return bytes(data)


class PublicRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a mirror to public addresses alone: it shall not make us ask our own network."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        target = urlsplit(newurl)
        if target.scheme not in ("http", "https"):
            raise ValueError(f"it leads to {target.scheme}:")
        for *_, address in socket.getaddrinfo(target.hostname, None):
            if not ipaddress.ip_address(address[0]).is_global:
                raise ValueError("it leads to an address that is not public")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _reason(error: Exception, url: str) -> str:
    """Why a download failed, and through which proxy, which may be what failed."""
    reason = shown(getattr(error, "reason", None) or str(error) or type(error).__name__)[:200]
    address = urlsplit(url)
    proxy = urllib.request.getproxies().get(address.scheme)
    if not proxy or urllib.request.proxy_bypass(address.hostname):
        return reason
    host = urlsplit(proxy).netloc.rpartition("@")[2] or proxy  # without a password
    return f"{reason}, through the proxy {shown(host)} of {address.scheme}_proxy"
