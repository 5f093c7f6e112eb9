"""Files of a model: opened once and kept open.

A model's files are all opened when it is loaded. Whatever happens to their names later (the model is saved over itself,
its folder is replaced or deleted), the files that were loaded are the ones that are read.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from gristmill.errors import FormatError
from gristmill.ir.constants import FilePlace

Buffer: TypeAlias = bytes | memoryview

_MOST_FILES = 256  # in one model's folder; each is held open. Real models have fewer than twenty.
_DEEPEST = 16  # folders inside one another
_CHUNK = 1 << 22  # bytes


class OpenFile:
    """A regular file that is open for reading by range.

    Args:
        path: Where it lies.
        mapped: Whether devices may use its contents where they lie, instead of reading them.

    Raises:
        FormatError: There is no such file, it cannot be read, or it is a folder, a pipe or a device.
    """

    def __init__(self, path: str | os.PathLike[str], *, mapped: bool = False) -> None:
        self.path = Path(path)
        # O_NONBLOCK: opening a named pipe must not wait for a writer.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        try:
            self._fd = os.open(self.path, flags)
        except OSError as error:
            raise FormatError(
                "a file of the model cannot be opened", location=self.path, actual=error.strerror
            ) from error
        self.close = weakref.finalize(self, os.close, self._fd)
        self._lock = threading.Lock()
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            raise FormatError("a file of the model is not a regular file", location=self.path)
        self.size = status.st_size
        self.mapped = mapped

    def read(self, start: int = 0, size: int | None = None, *, what: str = "contents") -> Buffer:
        """Reads a range, by default the whole file.

        Args:
            start: Offset in bytes.
            size: Number of bytes; up to the end when left out.
            what: What the range holds, for errors.

        Raises:
            FormatError: The range is not within the file.
        """
        size = self.size - start if size is None else size
        if size < 0 or start + size > self.size:
            raise FormatError(
                f"the file ends inside its {what}",
                location=self.path,
                expected=f"at least {start + size} bytes",
                actual=f"{self.size} bytes",
                hint="the file is truncated or corrupted: fetch it again",
            )
        pieces = []
        while size:
            piece = self._read_at(start, size)
            if not piece:
                raise FormatError("the file shrank while it was read", location=self.path)
            pieces.append(piece)
            start, size = start + len(piece), size - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)  # one read gives up to two gigabytes

    def place(self, start: int) -> FilePlace | None:
        """Where devices may read from a byte on; nothing where a read cannot be given a position."""
        if not hasattr(os, "pread") or sys.byteorder != "little":
            return None
        return FilePlace(self._fd, start, self.mapped)

    def _read_at(self, start: int, size: int) -> bytes:
        if hasattr(os, "pread"):
            return os.pread(self._fd, size, start)
        with self._lock:  # where a read cannot be given a position, all reads share the file's own
            os.lseek(self._fd, start, os.SEEK_SET)
            return os.read(self._fd, size)

    def copy_to(self, target: Path) -> None:
        """Writes the contents to a new file."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            for chunk in self.chunks():
                out.write(chunk)

    def chunks(self) -> Iterator[Buffer]:
        """The contents, piece by piece."""
        for start in range(0, self.size, _CHUNK):
            yield self.read(start, min(_CHUNK, self.size - start))


class Tree(Mapping[str, OpenFile]):
    """All regular files of a folder, opened, by their path inside it with forward slashes.

    Symbolic links are followed to files inside the folder only.

    Raises:
        FormatError: A link leads outside, or there are more files or levels than any model has.
    """

    def __init__(self, root: Path, *, mapped: bool = False) -> None:
        self.root = root
        self._files: dict[str, OpenFile] = {}
        for path in sorted(_regular_files(root, root.resolve(), _DEEPEST)):
            if len(self._files) == _MOST_FILES:
                raise FormatError("too many files in one model", location=root, expected=f"at most {_MOST_FILES}")
            # Only weights gain from a mapping; a specification is decoded as a whole.
            is_weights = mapped and path.suffix == ".bin"
            self._files[path.relative_to(root).as_posix()] = OpenFile(path, mapped=is_weights)

    def __getitem__(self, path: str) -> OpenFile:
        return self._files[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def find(self, base: str, relative: str) -> OpenFile:
        """The file that a path stated in the model means.

        Args:
            base: The folder of the tree that the path starts from; empty for the root.
            relative: The path as stated.

        Raises:
            FormatError: The path is absolute or climbs, or there is no such file.
        """
        path = f"{base}/{plain_path(relative, self.root)}".lstrip("/")
        if path not in self._files:
            raise FormatError("a file of the model is missing", location=self.root, expected=path)
        return self._files[path]


def _regular_files(folder: Path, root: Path, levels: int) -> Iterator[Path]:
    if levels == 0:
        raise FormatError("folders of the model are nested too deeply", location=folder)
    try:
        with os.scandir(folder) as listing:
            entries = list(itertools.islice(listing, _MOST_FILES + 1))
    except OSError as error:
        raise FormatError("a folder of the model cannot be read", location=folder, actual=error.strerror) from error
    if len(entries) > _MOST_FILES:
        raise FormatError("too many files in one model", location=folder, expected=f"at most {_MOST_FILES}")
    for entry in entries:
        path = Path(entry.path)
        if entry.is_symlink():
            if _inside(path, root) and path.is_file():
                yield path
        elif entry.is_dir():
            yield from _regular_files(path, root, levels - 1)
        elif entry.is_file():
            yield path


def _inside(link: Path, root: Path) -> bool:
    try:
        target = link.resolve()
    except (OSError, RuntimeError):  # a loop of links: RuntimeError up to Python 3.12
        return False
    if not target.is_relative_to(root):
        raise FormatError(
            "a link in the model leads outside it",
            location=link,
            actual=target,
            hint="if you trust the model, copy it with its links resolved (cp -rL)",
        )
    return True


def plain_path(stated: str, location: object) -> str:
    """Checks a path that a file states: relative, going down only, with forward slashes. Returns its normal form.

    Raises:
        FormatError: It is anything else.
    """
    pure = PurePosixPath(stated)
    harmless = pure.parts and not pure.is_absolute() and ".." not in pure.parts
    if not harmless or re.search(r"[\0\\]|^[A-Za-z]:", stated):
        raise FormatError(
            "a path in the model is not plainly relative",
            location=location,
            expected="a path inside the model, with forward slashes and without '..'",
            actual=repr(stated[:200]),
        )
    return pure.as_posix()
