"""Files that are written whole or not at all, and checked against a schema when they are read."""

import io
import os
import stat
import tempfile
import zipfile
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from harness.errors import UserError

LARGEST = 256 * 2**20  # bytes; no file that a run leaves comes near
T = TypeVar("T")


def write_atomically(path: str | Path, data: bytes) -> None:
    """Write `path` whole or not at all: a kill or a full disk leaves what was there before.

    A link is followed, and a file that is there keeps its permissions.

    Raises:
        UserError: there is a folder of that name.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise UserError(f"'{shown(path)}' is a folder, not a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, mode)  # mkstemp's files are private
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read_bytes(path: str | Path, most: int = LARGEST) -> bytes:
    """A regular file's content.

    Raises:
        UserError: the file is missing, is a pipe or a device, or is larger than `most` bytes.
    """
    try:
        # Without waiting: a pipe that nobody writes to would block for ever.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError as error:
        raise UserError(f"'{shown(path)}' is missing") from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):  # a folder could not even become a file object
        os.close(handle)
        raise UserError(f"'{shown(path)}' is not a regular file")
    with os.fdopen(handle, "rb") as file:
        if status.st_size > most:
            raise UserError(
                f"'{shown(path)}' has {status.st_size:,} bytes, which is more than the {most:,} "
                "that such a file can have"
            )
        return file.read(most + 1)


def shown(text: object) -> str:
    """Text from outside as one safe line: what a terminal would obey is spelled as an escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def unusable(path: str | Path, kind: str, error: Exception) -> UserError:
    """What to raise for a file that is not what it should be."""
    return UserError(
        f"'{shown(path)}' is not a whole {kind} ({shown(error)}): restore or delete it"
    )


def write_json(path: str | Path, content: object) -> None:
    """Plain values or msgspec structs as indented JSON."""
    text = msgspec.json.format(msgspec.json.encode(content), indent=2)
    write_atomically(path, text + b"\n")


def read_json(path: str | Path, kind: type[T]) -> T:
    """The JSON file's content as a `kind`, checked field by field.

    Raises:
        UserError: the file is missing or is not what `kind` says; the line names the field.
    """
    try:
        return msgspec.json.decode(read_bytes(path), type=kind)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise unusable(path, "file of its kind", error) from error


def write_arrays(path: str | Path, **arrays: np.ndarray) -> None:
    """A compressed .npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomically(path, buffer.getvalue())


def read_arrays(path: str | Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The named arrays of an .npz file, numbers only.

    Raises:
        UserError: the file is missing, damaged, or has other arrays.
    """
    data = io.BytesIO(read_bytes(path))
    try:
        if sum(member.file_size for member in zipfile.ZipFile(data).infolist()) > LARGEST:
            raise ValueError("it would unpack to more than such a file can hold")
        with np.load(data, allow_pickle=False) as file:
            if set(file.files) != set(names):
                raise ValueError(f"it holds {sorted(file.files)}, not {sorted(names)}")
            arrays = {name: file[name] for name in names}
        if any(array.dtype.kind not in "biuf" for array in arrays.values()):
            raise ValueError("it holds something other than numbers")
    # A damaged archive fails in zipfile, zlib or NumPy's header parser, each in its own way.
    except Exception as error:
        raise unusable(path, ".npz file of its kind", error) from error
    return arrays
