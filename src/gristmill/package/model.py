"""A model as a whole: loaded from files, or made of a program, and saved."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import gristmill.ops  # noqa: F401  # programs are made of them
from gristmill.errors import FormatError, MissingFileError, UnsupportedError
from gristmill.ir.constants import FilePlace
from gristmill.ir.opset import Opset
from gristmill.ir.program import Program
from gristmill.ir.verify import verify
from gristmill.package import description, files, mil_reader, mlpackage, notes, proto
from gristmill.package.files import OpenFile, Tree
from gristmill.package.mil_values import Weights, static_shape
from gristmill.package.network_messages import NETWORKS
from gristmill.package.proto import Message

SPECIFICATION = "model.mlmodel"
"""What a compiled model that is no ML Program is kept in here; see ``compiled.py``."""

_LARGEST_TEXT = 1 << 28  # bytes of a compiled model's program or description; weights lie elsewhere


class Package:
    """A model: its specification, the program in it, and the files it came from.

    Get one from `load`, `from_program` or `from_spec`. The specification may be edited in place; the program is not
    written back into it, so for a changed program make a new package with `with_program`.

    Attributes:
        path: Where it was loaded from.
        tree: Files of its folder; ``None`` for a bare ``.mlmodel`` and for one that was not loaded.
    """

    def __init__(
        self,
        spec: Message,
        *,
        source: Callable[[], Program] | None = None,
        path: Path | None = None,
        tree: Tree | None = None,
        file: OpenFile | None = None,
        weights: Weights | None = None,
    ) -> None:
        self.path, self.tree = path, tree
        self._spec, self._file, self._weights = spec, file, weights or Weights()
        self._source = source  # gives the program that the specification's is made of, rather than the other way round
        self._encoded = source is None

    @classmethod
    def from_program(cls, program: Program, model_description: Message | None = None) -> Package:
        """Makes a model of a program.

        Args:
            program: The program; not to be changed afterwards.
            model_description: A ``ModelDescription``; the one that follows from the program's types when left out.

        Raises:
            UnsupportedError: The program has an input or output that applications cannot hand over.
        """
        from gristmill.package import saving  # with what only writing takes

        spec = saving.new_spec(program)
        spec.description.CopyFrom(model_description or description.describe(program))
        if spec.description.functions:  # which came with iOS 18, whatever generation of ops they use
            spec.specificationVersion = max(spec.specificationVersion, int(Opset.iOS18))
        return cls(spec, source=lambda: program)

    @classmethod
    def from_spec(cls, spec: Message, weights_dir: str | os.PathLike[str] | None = None) -> Package:
        """Makes a model of a specification, and a folder with its weight files if it has any."""
        tree = Tree(Path(weights_dir)) if weights_dir is not None else None
        return cls(spec, weights=Weights(tree, flat=True))

    def nested(self, spec: Message) -> Package:
        """A model inside this one, such as one of a pipeline's: weight files are this one's."""
        return Package(spec, path=self.path, weights=self._weights)

    def with_program(self, program: Program) -> Package:
        """This model with another program in its place: description and metadata stay, and a network stays one."""
        if self.kind in NETWORKS:
            from gristmill.package.network_writer import rewrite_network  # which only networks need

            return Package(rewrite_network(self._spec, program))
        from gristmill.package import saving  # with what only writing takes

        spec = saving.new_spec(program)
        spec.specificationVersion = max(spec.specificationVersion, self._spec.specificationVersion)
        spec.description.CopyFrom(self._spec.description)
        return Package(spec, source=lambda: program)

    @property
    def kind(self) -> str:
        """The model type, by its field's name in the format, such as ``mlProgram`` or ``neuralNetwork``."""
        if self._source is not None:
            return "mlProgram"
        return str(self._spec.WhichOneof("Type") or "")

    @property
    def specification_version(self) -> int:
        """Of the model; see ``Opset``."""
        return int(self._spec.specificationVersion)

    @property
    def spec(self) -> Message:
        """The whole specification, a ``Model`` message that may be edited in place."""
        if not self._encoded:
            from gristmill.package import saving  # with what only writing takes

            saving.encode(self)
        return self._spec

    @property
    def description(self) -> Message:
        """The ``ModelDescription``: inputs, outputs, states, metadata. May be edited in place."""
        return self._spec.description

    @cached_property
    def program(self) -> Program:
        """The decoded program.

        Raises:
            UnsupportedError: The model is of another kind, or has what is unknown here.
            FormatError: The program is malformed.
        """
        if self._source is not None:
            return self._source()
        if self.kind != "mlProgram":
            raise UnsupportedError(
                "the model is no ML Program", location=self.path, actual=self.kind or "no model type"
            )
        metadata = self._spec.description.metadata
        hints = mil_reader.Hints(
            shapes=notes.read_shapes(metadata),
            ranges=description.stated_ranges(self._spec.description),
            locations=notes.read_locations(metadata),
        )
        return mil_reader.read_program(self._spec.mlProgram, self._weights, hints)

    def weight_files(self) -> list[tuple[FilePlace, int]]:
        """Where the weights lie that the specification refers to: files, and how many bytes each has."""
        files = (file for name, file in (self._weights.tree or {}).items() if name.endswith(".bin"))
        return [(place, file.size) for file in files if (place := file.place(0)) is not None]

    @cached_property
    def weights_dir(self) -> Path | None:
        """The folder of the weight files that the specification refers to; ``None`` where there are none.

        Those of a program that was not loaded are written for the purpose, and go with the package.
        """
        if self._source is None:
            tree = self._weights.tree
            if not tree:
                return None
            return tree.root if self._weights.flat else tree.root / self._weights.base / "weights"
        from gristmill.package import saving  # with what only writing takes

        return saving.temporary_weights(self)

    # -- saving ------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the model to ``path``, in place of what is there, in one step.

        What was loaded and not changed is written byte for byte. Equal models give equal files.

        Args:
            path: Ends in ``.mlpackage``, or in ``.mlmodel`` for models other than ML Programs; a path without ending
                gets the one that suits.

        Raises:
            InputError: The path does not suit the model.
            UnsupportedError: The model is a compiled network, whose format is not known here.
        """
        from gristmill.package import saving  # with what only writing takes

        target = Path(path).expanduser()
        if not target.suffix:
            target = target.with_suffix(".mlpackage" if self.kind == "mlProgram" else ".mlmodel")
        saving.save(self, target)
        return target


def load(path: str | os.PathLike[str], *, mmap: bool = True) -> Package:
    """Opens a model. Weights are not read before they are needed.

    Args:
        path: A ``.mlpackage`` folder, a ``.mlmodel`` file, or a compiled ``.mlmodelc`` folder.
        mmap: Whether devices may use weights where they lie in their files, mapped into memory, instead of copying
            them. The files may be replaced and deleted meanwhile, but not written to in place.

    Raises:
        MissingFileError: There is nothing at ``path``.
        FormatError: It is no model, or a malformed one.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise MissingFileError("no model is there", location=path)
    if not path.is_dir():
        return _load_file(path)
    tree = Tree(path, mapped=mmap)
    for each in tree.values():
        _is_itself(each)
    if mlpackage.MANIFEST in tree:
        return _load_package(path, tree)
    if "metadata.json" in tree:
        return _load_compiled(path, tree)
    raise FormatError(
        "the folder is no model",
        location=path,
        expected=f"{mlpackage.MANIFEST} (.mlpackage) or metadata.json (.mlmodelc)",
    )


def _is_itself(file: OpenFile) -> None:
    """Refuses what Git LFS leaves in a file's place until somebody asks it for the file."""
    if file.size < 1024 and bytes(file.read()).startswith(b"version https://git-lfs"):
        raise FormatError(
            "the file is a pointer of Git LFS, not what it stands for", location=file.path, hint="git lfs pull"
        )


def _load_file(path: Path) -> Package:
    file = OpenFile(path)
    _is_itself(file)
    if not file.size:
        raise FormatError("the file is empty", location=path)
    if file.size >= 4 and bytes(file.read(0, 4)) == b"PK\x03\x04":
        raise FormatError("the file is a zip archive", location=path, hint="unpack it and load the folder inside")
    return Package(proto.parse("Model", bytes(file.read()), path), path=path, file=file)


def _load_package(path: Path, tree: Tree) -> Package:
    manifest = mlpackage.read_manifest(tree)
    name = f"Data/{files.plain_path(manifest.items[manifest.root].path, path)}"
    file = tree.find("", name)
    spec = proto.parse("Model", bytes(file.read()), file.path)
    return Package(spec, path=path, tree=tree, file=file, weights=Weights(tree, name.rpartition("/")[0]))


def _load_compiled(path: Path, tree: Tree) -> Package:
    if SPECIFICATION in tree:
        file = tree.find("", SPECIFICATION)
        folder = path / "weights"
        weights = Weights(Tree(folder), flat=True) if folder.is_dir() else None
        return Package(proto.parse("Model", bytes(file.read()), file.path), path=path, file=file, weights=weights)
    file = tree.find("", "metadata.json")
    spec = description.from_metadata(_json(file), file.path)
    if "model.mil" not in tree:
        return Package(spec, path=path, tree=tree)
    return Package(spec, source=lambda: _parse(tree), path=path, tree=tree)


def _parse(tree: Tree) -> Program:
    from gristmill.ir import parser  # which only text needs

    file, weights = tree.find("", "model.mil"), Weights(tree)
    program = parser.parse_program(
        _text(file),
        blob=lambda stated, offset, type: weights.data(stated, offset, type.dtype, static_shape(type)),
        file=str(file.path),
    )
    verify(program, fresh=True)
    return program


def _json(file: OpenFile) -> Any:
    try:
        return json.loads(_text(file))
    except (ValueError, RecursionError) as error:
        raise FormatError("the file is not valid JSON", location=file.path, actual=str(error)) from error


def _text(file: OpenFile) -> str:
    if file.size > _LARGEST_TEXT:
        raise FormatError("the file is too large", location=file.path, expected=f"at most {_LARGEST_TEXT} bytes")
    try:
        return bytes(file.read()).decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError("the file is not UTF-8 text", location=file.path, actual=str(error)) from error
