"""The ``.mlpackage`` folder: a manifest, and items below ``Data/`` that it lists.

``Manifest.json`` gives each item an identifier, an author, a name and a path below ``Data/``, and names the item that
is the model itself. By convention that is ``com.apple.CoreML/model.mlmodel``, with ``weights/`` beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from gristmill.errors import FormatError
from gristmill.package.files import Tree, plain_path

MANIFEST = "Manifest.json"
AUTHOR = "com.apple.CoreML"  # part of the format: Core ML looks items up by author and name
MODEL = f"{AUTHOR}/model.mlmodel"
WEIGHTS = f"{AUTHOR}/weights"

_FORMAT_VERSION = "1.0.0"
_LARGEST_MANIFEST = 1 << 20  # bytes; real ones have less than a thousandth
_NAMESPACE = "5d1be1a8-6f0c-5a43-9b0e-7ef5ad0c2a11"  # of identifiers made here; an arbitrary constant


class Item(NamedTuple):
    """One entry of a manifest: its ``path`` is relative to ``Data/``."""

    path: str
    name: str
    author: str
    description: str = ""


class Manifest(NamedTuple):
    """What a package says it holds.

    Attributes:
        items: By identifier.
        root: Identifier of the model itself.
    """

    items: dict[str, Item]
    root: str

    def to_json(self) -> bytes:
        """The manifest as a file: keys in order, four spaces a level, as Core ML's own tools write it."""
        entries = {
            identifier: {"author": i.author, "description": i.description, "name": i.name, "path": i.path}
            for identifier, i in self.items.items()
        }
        whole = {
            "fileFormatVersion": _FORMAT_VERSION,
            "itemInfoEntries": entries,
            "rootModelIdentifier": self.root,
        }
        return json.dumps(whole, indent=4, sort_keys=True).encode() + b"\n"


def new_manifest(items: Iterable[Item], root: Item, digest: bytes) -> Manifest:
    """Makes a manifest whose identifiers follow from the contents, so that equal models get equal manifests.

    Args:
        items: All items, the root among them.
        root: The model itself.
        digest: A digest of the whole package's contents.
    """
    import uuid  # which only new packages need

    namespace = uuid.UUID(_NAMESPACE)

    def identifier(item: Item) -> str:
        return str(uuid.uuid5(namespace, f"{digest.hex()}/{item.path}")).upper()

    return Manifest({identifier(item): item for item in items}, identifier(root))


def read_manifest(tree: Tree) -> Manifest:
    """Reads and checks the manifest of a package.

    Raises:
        FormatError: It is missing, malformed, or states a path outside the package.
    """
    file = tree.find("", MANIFEST)
    location = file.path
    if file.size > _LARGEST_MANIFEST:
        raise FormatError(
            "the manifest is too large",
            location=location,
            expected=f"at most {_LARGEST_MANIFEST} bytes",
            actual=file.size,
        )
    whole = _object(_parse(bytes(file.read()), location), location)
    version = whole.get("fileFormatVersion")
    if not isinstance(version, str) or version.split(".")[0] != "1":
        raise FormatError(
            "unknown version of the package format",
            location=location,
            expected=_FORMAT_VERSION,
            actual=repr(version)[:80],
        )
    items = {}
    for identifier, entry in _object(whole.get("itemInfoEntries"), location).items():
        fields = _object(entry, location)
        texts = {key: fields.get(key, "") for key in ("path", "name", "author", "description")}
        for key, text in texts.items():
            if not isinstance(text, str):
                raise FormatError(f"an item's {key} must be text", location=location, actual=repr(text)[:80])
        items[identifier] = Item(**texts)
        plain_path(items[identifier].path, location)
    root = whole.get("rootModelIdentifier")
    if not isinstance(root, str) or root not in items:
        raise FormatError(
            "the manifest names no model",
            location=location,
            expected="the identifier of an item",
            actual=repr(root)[:80],
        )
    return Manifest(items, root)


def _parse(data: bytes, location: Path) -> Any:
    def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            raise ValueError("a key occurs twice")
        return result

    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=without_duplicates)
    except (ValueError, RecursionError) as error:  # ValueError: no UTF-8, no JSON, huge numbers, duplicates
        raise FormatError("the manifest is not valid JSON", location=location, actual=str(error)) from error


def _object(value: Any, location: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FormatError("malformed manifest", location=location, expected="an object", actual=repr(value)[:80])
    return value
