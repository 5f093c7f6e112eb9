"""Exported programs in files."""

from __future__ import annotations

import logging
import os

import torch
from torch.export import ExportedProgram

from gristmill.errors import FormatError
from gristmill.frontends.torch.torchvision import declare_operators


def load_exported(path: str | os.PathLike[str]) -> ExportedProgram:
    """Reads what ``torch.export.save`` wrote.

    Raises:
        FormatError: The file is no exported program, or one that the installed PyTorch cannot read.
    """
    declare_operators()
    log = logging.getLogger("torch.export")
    level = log.level
    log.setLevel(logging.ERROR)  # it prints the traceback of what it raises anyway
    try:
        return torch.export.load(os.fspath(path))
    except Exception as error:  # whatever the deserialiser meets in a stranger's file
        raise FormatError(
            "the file is no exported program",
            location=os.fspath(path),
            expected="what torch.export.save wrote",
            actual=f"{type(error).__name__}: {str(error)[:300]}",
        ) from error
    finally:
        log.setLevel(level)
