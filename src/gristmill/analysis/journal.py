"""What a search has measured already, in a file, so that it can go on where it was stopped."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.errors import FormatError, InputError
from gristmill.ir.constants import Array
from gristmill.ir.printer import print_function
from gristmill.ir.program import Program


class Journal:
    """Results by key; kept in memory where no path is given.

    The file has a JSON document a line: first what the search is about, then each result as soon as it is known.

    Args:
        path: Where the file is, or will be.
        subject: A digest of the program, the data and the metric.

    Raises:
        InputError: The file is of another search.
        FormatError: It is no journal.
    """

    def __init__(self, path: str | os.PathLike[str] | None, subject: str) -> None:
        self._path = None if path is None else Path(path)
        self._known: dict[str, Any] = {}
        if self._path is not None and self._path.exists():
            self._read(self._path, subject)
        elif self._path is not None:
            self._append({"search": subject})

    def _read(self, path: Path, subject: str) -> None:
        lines = path.read_text(encoding="utf-8").splitlines()
        try:
            # A line that was cut off when the search was stopped is as good as none.
            rows = [json.loads(line) for line in (lines if path.read_bytes().endswith(b"\n") else lines[:-1])]
            found = rows[0]["search"]
            self._known = {str(row["key"]): row["result"] for row in rows[1:]}
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise FormatError("the file is no journal of a search", location=path, actual=str(error)) from error
        if found != subject:
            raise InputError(
                "the journal is of another search",
                location=path,
                hint="another model, other data or another metric: give another path, or delete the file",
            )
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def get(self, key: str) -> Any:
        """A known result, or ``None``."""
        return self._known.get(key)

    def put(self, key: str, result: Any) -> None:
        """Notes a result."""
        self._known[key] = result
        if self._path is not None:
            self._append({"key": key, "result": result})

    def _append(self, row: Mapping[str, Any]) -> None:
        assert self._path is not None
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def subject_of(program: Program, samples: Sequence[Mapping[str, Array]], *facts: object) -> str:
    """A digest of what a search is about; weights count by the samples' reference outputs among them."""
    digest = hashlib.sha256(repr(facts).encode())
    digest.update(print_function(program.main, max_elements=16).encode())
    for sample in samples:
        for name, array in sorted(sample.items()):
            digest.update(name.encode())
            digest.update(np.ascontiguousarray(array).tobytes() if array.dtype != object else repr(array).encode())
    return digest.hexdigest()
