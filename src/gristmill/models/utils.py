"""Helpers around specifications, under coremltools' names."""

from __future__ import annotations

import os

from gristmill.models.multifunction import MultiFunctionDescriptor, save_multifunction
from gristmill.models.retype import change_input_output_tensor_type
from gristmill.package import Package, load
from gristmill.package.proto import Message

__all__ = ["MultiFunctionDescriptor", "change_input_output_tensor_type", "load_spec", "save_multifunction", "save_spec"]


def load_spec(model_path: str | os.PathLike[str]) -> Message:
    """The specification of a model, a ``Model`` message.

    Raises:
        FormatError: The file is no model.
        MissingFileError: There is none.
    """
    return load(model_path).spec


def save_spec(
    spec: Message,
    filename: str | os.PathLike[str],
    auto_set_specification_version: bool = False,
    weights_dir: str | os.PathLike[str] | None = None,
) -> None:
    """Writes a specification as a model.

    Args:
        spec: A ``Model`` message.
        filename: Ends in ``.mlpackage`` or ``.mlmodel``.
        auto_set_specification_version: Accepted for coremltools' sake; the version is written as it stands.
        weights_dir: Folder of the weight files that the specification refers to.
    """
    Package.from_spec(spec, weights_dir).save(filename)
