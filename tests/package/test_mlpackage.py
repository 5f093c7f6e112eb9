"""Manifests: what a package says of itself is checked before it is believed."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gristmill.errors import FormatError
from gristmill.package import mlpackage, saving
from gristmill.package.files import OpenFile, Tree
from gristmill.package.mlpackage import AUTHOR, MODEL, Item, new_manifest, read_manifest

IDENTIFIER = "7EB69391-53BD-4281-BFA1-831180579ABC"


def manifest(path: str = MODEL, **changes: Any) -> dict[str, Any]:
    entry = {"author": AUTHOR, "description": "", "name": "model.mlmodel", "path": path}
    whole = {
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": {IDENTIFIER: entry},
        "rootModelIdentifier": IDENTIFIER,
    }
    return whole | changes


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "m.mlpackage"
    (folder / "Data" / AUTHOR).mkdir(parents=True)
    (folder / "Data" / MODEL).write_bytes(b"model")
    (folder / "Manifest.json").write_text(json.dumps(manifest()))
    return folder


def put(package: Path, text: str | bytes) -> None:
    (package / "Manifest.json").write_bytes(text if isinstance(text, bytes) else text.encode())


def model_of(package: Path) -> OpenFile:
    tree = Tree(package)
    made = read_manifest(tree)
    return tree.find("Data", made.items[made.root].path)


def test_reads_a_package(package: Path) -> None:
    """The root item's path leads to the model."""
    assert model_of(package).read() == b"model"


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../../x", "a/../../x", "..", ".", "", "a\\..\\b", "C:/x", "c:x", "a\0b", "//host/x"],
)
def test_paths_that_leave(package: Path, path: str) -> None:
    """Absolute and climbing paths are refused, in the spelling of any system, whether or not the file exists."""
    put(package, json.dumps(manifest(path)))
    with pytest.raises(FormatError, match="not plainly relative"):
        read_manifest(Tree(package))


def test_links_that_leave(package: Path, tmp_path: Path) -> None:
    """A symbolic link may point around inside the package, not outside it."""
    (tmp_path / "secret").write_bytes(b"secret")
    model = package / "Data" / MODEL
    model.rename(model.with_name("real.mlmodel"))
    model.symlink_to("real.mlmodel")
    assert model_of(package).read() == b"model"
    model.unlink()
    model.symlink_to(tmp_path / "secret")
    with pytest.raises(FormatError, match="leads outside"):
        read_manifest(Tree(package))
    model.unlink()
    model.symlink_to(model)
    with pytest.raises(FormatError, match="missing"):
        model_of(package)


def test_a_manifest_that_is_a_link(package: Path, tmp_path: Path) -> None:
    """Neither may the manifest come from outside."""
    (tmp_path / "other.json").write_text(json.dumps(manifest()))
    (package / "Manifest.json").unlink()
    (package / "Manifest.json").symlink_to(tmp_path / "other.json")
    with pytest.raises(FormatError, match="leads outside"):
        read_manifest(Tree(package))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"{",
        b"[" * 100_000,
        b'{"a": ' * 100_000,
        b'{"fileFormatVersion": ' + b"9" * 10_000 + b"}",
        json.dumps(manifest()).encode().replace(b'"rootModel', b'"fileFormatVersion": "1.0.0", "rootModel'),
        json.dumps(manifest(fileFormatVersion=1)).encode(),
        json.dumps(manifest(fileFormatVersion="2.0.0")).encode(),
        json.dumps(manifest(itemInfoEntries=[])).encode(),
        json.dumps(manifest(itemInfoEntries={IDENTIFIER: 3})).encode(),
        json.dumps(manifest(itemInfoEntries={IDENTIFIER: {"path": 3}})).encode(),
        json.dumps(manifest(itemInfoEntries={IDENTIFIER: {}})).encode(),
        json.dumps(manifest(rootModelIdentifier="other")).encode(),
        json.dumps(manifest(rootModelIdentifier=["x"])).encode(),
        json.dumps(manifest(extra="x" * (1 << 20))).encode(),
    ],
    ids=lambda text: text[:24].decode(errors="replace") + f"…{len(text)}",
)
def test_malformed(package: Path, text: bytes) -> None:
    """No JSON, deep JSON, huge JSON, wrong types, repeated keys: each is refused."""
    put(package, text)
    with pytest.raises(FormatError):
        read_manifest(Tree(package))


def test_missing_parts(package: Path) -> None:
    """A package without a manifest or without its model is refused."""
    (package / "Data" / MODEL).unlink()
    with pytest.raises(FormatError, match="missing"):
        model_of(package)
    (package / "Manifest.json").unlink()
    with pytest.raises(FormatError, match="missing"):
        read_manifest(Tree(package))


def test_special_files(package: Path) -> None:
    """A pipe in the model's place does not block the reader."""
    model = package / "Data" / MODEL
    model.unlink()
    os.mkfifo(model)
    with pytest.raises(FormatError, match="missing"):
        model_of(package)


def test_written_manifest_is_read_again(package: Path) -> None:
    """Identifiers follow from contents and path: equal for equal contents, different otherwise."""
    root, weights = Item(MODEL, "model.mlmodel", AUTHOR), Item(mlpackage.WEIGHTS, "weights", AUTHOR)
    made = new_manifest([root, weights], root, b"digest")
    assert made == new_manifest([root, weights], root, b"digest")
    assert made.root != new_manifest([root], root, b"other").root
    put(package, made.to_json())
    assert read_manifest(Tree(package)) == made
    assert len(set(made.items)) == 2


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_mutations_give_our_errors_only(package: Path, data: st.DataObject) -> None:
    """Any corruption of a manifest either leaves one that reads, or raises FormatError."""
    text = bytearray(json.dumps(manifest()).encode())
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(text)))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    put(package, bytes(text))
    with contextlib.suppress(FormatError):
        assert model_of(package).path.is_relative_to(package)


def test_a_loaded_file_stays_what_it_was(package: Path) -> None:
    """Replacing or deleting the folder does not change what an open tree reads."""
    tree = Tree(package)
    with saving.replacing(package) as new:
        _write(new, "folder", "another model")
    assert tree.find("Data", MODEL).read() == b"model"


def test_too_many_files(package: Path) -> None:
    """A folder with more files or levels than any model has is refused before they are all opened."""
    for k in range(300):
        (package / f"file{k}").touch()
    with pytest.raises(FormatError, match="too many"):
        Tree(package)


def test_deep_folders(package: Path) -> None:
    """Folders nested without end are refused."""
    (package / "/".join("d" * 40)).mkdir(parents=True)
    with pytest.raises(FormatError, match="nested too deeply"):
        Tree(package)


def test_replacing_keeps_the_old_on_failure(tmp_path: Path) -> None:
    """A target is replaced in one step, or not at all, and nothing is left beside it."""
    for target in (tmp_path / "file", tmp_path / "folder"):
        with saving.replacing(target) as new:
            _write(new, target.name, "one")
        with saving.replacing(target) as new:
            _write(new, target.name, "two")
        with pytest.raises(RuntimeError):
            _fail_to_replace(target)
        assert _read(target) == "two"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


def _fail_to_replace(target: Path) -> None:
    with saving.replacing(target) as new:
        _write(new, target.name, "three")
        raise RuntimeError


def _write(new: Path, kind: str, text: str) -> None:
    if kind == "folder":
        new.mkdir()
        new = new / "inner"
    new.write_text(text)


def _read(path: Path) -> str:
    return (path / "inner" if path.is_dir() else path).read_text()
