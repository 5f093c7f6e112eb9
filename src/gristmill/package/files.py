"""Files of a model: opened without following surprises, and replaced in one step."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from gristmill.errors import FormatError


def open_regular(path: Path) -> int:
    """Opens a file of a model for reading and returns its descriptor.

    Raises:
        FormatError: There is no such file, it cannot be read, or it is a folder, a pipe or a device.
    """
    # O_NONBLOCK: opening a named pipe must not wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise FormatError("a file of the model cannot be opened", location=path, actual=error.strerror) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FormatError("a file of the model is not a regular file", location=path)
    return descriptor


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """Reads a whole file.

    Args:
        path: The file.
        limit: The most bytes it may have, if what it holds is known to be small.

    Raises:
        FormatError: As for `open_regular`, or the file is larger than ``limit``.
    """
    with os.fdopen(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if limit is not None and size > limit:
            raise FormatError("the file is too large", location=path, expected=f"at most {limit} bytes", actual=size)
        return file.read(size)


def inside(root: Path, base: Path, relative: str) -> Path:
    """Turns a path that a file states into one that surely lies inside the model.

    Args:
        root: The folder that must not be left, not even through a symbolic link.
        base: The folder that ``relative`` starts from.
        relative: The path as the file states it, with forward slashes.

    Raises:
        FormatError: The path is absolute, climbs, or leads outside.
    """
    pure = PurePosixPath(relative)
    harmless = pure.parts and not pure.is_absolute() and ".." not in pure.parts
    if not harmless or re.search(r"[\0\\]|^[A-Za-z]:", relative):
        raise FormatError(
            "a path in the model is not plainly relative",
            location=root,
            expected="a path inside the model, with forward slashes and without '..'",
            actual=repr(relative[:200]),
        )
    try:
        real, real_root = (base / pure).resolve(), root.resolve()
    except (OSError, RuntimeError) as error:  # a loop of links: RuntimeError up to Python 3.12
        raise FormatError("a path in the model leads nowhere", location=root, actual=repr(relative[:200])) from error
    if not real.is_relative_to(real_root):
        raise FormatError("a link in the model leads outside it", location=root, actual=repr(relative[:200]))
    return real


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Gives a path to write a file or folder to, which takes the target's place when all went well.

    It lies beside the target, so that moving it is one step, and readers that hold the old files keep them. After an
    error the target is what it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        new, old = scratch / "new", scratch / "old"
        yield new
        if target.is_dir() and not target.is_symlink():  # a folder cannot be renamed onto a folder
            target.rename(old)
            try:
                new.rename(target)
            except BaseException:
                old.rename(target)
                raise
        else:
            new.replace(target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
