"""Writing models: a `Package` loads this when it is first written, since most models are only run."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.errors import InputError, UnsupportedError
from gristmill.ir.program import Program
from gristmill.package import mil_writer, mlpackage, notes, proto
from gristmill.package.mlpackage import AUTHOR, MODEL, WEIGHTS, Item
from gristmill.package.proto import Message

if TYPE_CHECKING:
    from gristmill.package.model import Package


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


def new_spec(program: Program) -> Message:
    """A ``Model`` message for a program, with nothing in it but the version that its ops need."""
    return proto.message("Model")(specificationVersion=int(mil_writer.newest_opset(program)))


def encode(package: Package) -> None:
    """Puts a package's program into its specification."""
    # Offsets follow from the contents alone, so the weights that `save` writes are the ones referred to here.
    encoded, _ = mil_writer.write_program(package.program, None)
    _put_program(package, encoded)


def temporary_weights(package: Package) -> Path | None:
    """Writes the weight files of a package's program to a folder that goes with the package."""
    folder = Path(tempfile.mkdtemp(prefix="gristmill-"))
    weakref.finalize(package, shutil.rmtree, folder, ignore_errors=True)
    return folder / "weights" if _save_program(package, folder / "weights") else None


def save(package: Package, target: Path) -> None:
    """Writes a package; see ``Package.save``."""
    if not package.kind:
        raise UnsupportedError(
            "a compiled network cannot be saved", location=package.path, hint="use its .mlmodel file"
        )
    if target.suffix == ".mlpackage" and target.is_file():
        raise InputError("a file is there, where the model would be a folder", actual=target)
    if target.suffix == ".mlpackage":
        with replacing(target) as new:
            _save_package(package, new)
    elif target.suffix == ".mlmodel" and package.kind != "mlProgram" and not target.is_dir():
        with replacing(target) as new:
            new.write_bytes(_spec_bytes(package))
    else:
        allowed = ".mlpackage" if package.kind == "mlProgram" else ".mlpackage or .mlmodel"
        raise InputError("the model cannot be saved there", expected=f"a path ending in {allowed}", actual=target)


def _save_package(package: Package, new: Path) -> None:
    data = new / "Data"
    model, weights = Item(MODEL, "model.mlmodel", AUTHOR, "CoreML Model Specification"), None
    if package._source is not None:
        digest = _save_program(package, data / WEIGHTS)
    elif package.tree is not None and mlpackage.MANIFEST in package.tree:
        for name, file in package.tree.items():
            if file is package._file:
                (new / name).parent.mkdir(parents=True, exist_ok=True)
                (new / name).write_bytes(_spec_bytes(package))
            else:
                file.copy_to(new / name)
        return
    else:
        digest = _copy_weights(package, data / WEIGHTS)
    items = [model]
    if digest:
        weights = Item(WEIGHTS, "weights", AUTHOR, "CoreML Model Weights")
        items.append(weights)
    spec = _spec_bytes(package)
    (data / MODEL).parent.mkdir(parents=True, exist_ok=True)
    (data / MODEL).write_bytes(spec)
    whole = hashlib.blake2b(spec + digest, digest_size=32).digest()
    (new / mlpackage.MANIFEST).write_bytes(mlpackage.new_manifest(items, model, whole).to_json())


def _save_program(package: Package, folder: Path) -> bytes:
    folder.mkdir(parents=True)
    path = folder / mil_writer.WEIGHT_FILE.rsplit("/", 1)[-1]
    with path.open("w+b") as file:
        encoded, digest = mil_writer.write_program(package.program, file)
    if not digest:
        path.unlink()
        folder.rmdir()
    if not package._encoded:
        _put_program(package, encoded)
    return digest


def _put_program(package: Package, encoded: Message) -> None:
    package._spec.mlProgram.CopyFrom(encoded)
    notes.write_notes(package.program, package._spec.description.metadata)
    package._encoded = True


def _copy_weights(package: Package, folder: Path) -> bytes:
    digest = hashlib.blake2b(digest_size=32)
    if not package._weights.tree:
        return b""
    for name, file in package._weights.tree.items():
        file.copy_to(folder / name)
        digest.update(f"{name} {file.size} ".encode())
        for chunk in file.chunks():
            digest.update(chunk)
    return digest.digest()


def _spec_bytes(package: Package) -> bytes:
    """The specification's bytes: those of the file as long as they say the same."""
    if package._file is not None:
        original = bytes(package._file.read())
        loaded = proto.parse("Model", original, package._file.path)
        # Not-a-number differs from itself, but not in bytes.
        if loaded == package._spec or proto.serialize(loaded) == proto.serialize(package._spec):
            return original
    return proto.serialize(package.spec)
