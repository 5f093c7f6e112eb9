"""Values of inputs and outputs, from and to files and tables."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gristmill.cli.output import table, text
from gristmill.errors import FormatError, InputError, MissingFileError
from gristmill.ir.constants import Array
from gristmill.models import images
from gristmill.models.features import Feature, ScalarFeature, known_names, make_up

if TYPE_CHECKING:
    from rich.table import Table

_IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_SHOWN = 6  # elements of an array in a table


# --- in --------------------------------------------------------------------------------------------------------------


def read(sources: Sequence[str], features: Sequence[Feature]) -> dict[str, Any]:
    """Values by input.

    Args:
        sources: ``name=file`` for one value, ``name=value`` for a number or a text, or a file that holds values by
            name.
        features: The model's inputs.

    Raises:
        InputError: A file is missing, of a kind that is not read, or holds something else than it should.
    """
    found: dict[str, Any] = {}
    named = {feature.name: feature for feature in features}
    for source in sources:
        name, file = _split(source, named)
        if isinstance(feature := named.get(name), ScalarFeature) and not Path(file).exists():
            found[name] = _literal(file, feature)
            continue
        contents = _load(Path(file))
        if name:
            found[name] = _only(contents, name, file) if isinstance(contents, Mapping) else contents
        elif isinstance(contents, Mapping):
            found |= contents
        else:
            found[_meant(file, features)] = contents
    known_names(found, features)
    return found


def completed(given: Mapping[str, Any], features: Sequence[Feature], *, seed: int | None = 0) -> dict[str, Any]:
    """What was given, and values made up for inputs that are missing and needed.

    Args:
        given: Values by input.
        features: The model's inputs.
        seed: Of what is made up; ``None`` makes up nothing.

    Raises:
        InputError: An input is missing, and nothing is made up.
    """
    missing = [feature for feature in features if given.get(feature.name) is None and not feature.optional]
    if missing and seed is None:
        raise InputError(
            "inputs are missing",
            expected=", ".join(f"{feature.name}: {feature.describe()}" for feature in missing),
            hint="-i NAME=FILE gives one, --random makes them up",
        )
    return {**given, **make_up(missing, seed or 0)}


def _split(source: str, named: Mapping[str, Feature]) -> tuple[str, str]:
    """Name and file; a file's own name may have an equals sign."""
    name, sign, file = source.partition("=")
    if sign and (name in named or not Path(source).exists()):
        return name, file
    return "", source


def _literal(text: str, feature: ScalarFeature) -> Any:
    try:
        return feature.python(text)
    except ValueError as error:
        raise InputError(
            f"input '{feature.name}' is a single value", expected=f"{feature.describe()}, or a file", actual=text
        ) from error


def _meant(file: str, features: Sequence[Feature]) -> str:
    """The input that a value without a name is for: the only one, or the only one that is needed."""
    meant = [feature.name for feature in features if not feature.optional] or [feature.name for feature in features]
    if len(meant) != 1:
        raise InputError(f"which input is '{file}' for?", expected="NAME=FILE with " + " or ".join(meant))
    return meant[0]


def _load(path: Path) -> Any:
    if not path.exists():
        raise MissingFileError("no such file", location=path)
    try:
        match path.suffix.lower():
            case ".npy":
                return np.load(path, allow_pickle=False)
            case ".npz":
                with np.load(path, allow_pickle=False) as archive:
                    return dict(archive)
            case ".json":
                return json.loads(path.read_text(encoding="utf-8"))
            case suffix if suffix in _IMAGES:
                image = images.pil().open(path)
                image.load()
                return image
    except (ValueError, EOFError, OSError, RecursionError, SyntaxError, zipfile.BadZipFile) as error:
        raise FormatError(f"the file is no valid {path.suffix}", location=path, actual=error) from error
    raise InputError(
        "files of this kind are not read", expected=f".npy, .npz, .json or {', '.join(_IMAGES)}", actual=path
    )


def _only(contents: Mapping[str, Any], name: str, file: str) -> Any:
    if name in contents:
        return contents[name]
    if len(contents) == 1:
        return next(iter(contents.values()))
    raise InputError(f"'{file}' has nothing for '{name}'", expected=name, actual=", ".join(contents) or "nothing")


# --- out -------------------------------------------------------------------------------------------------------------


def write(path: Path, results: Mapping[str, Any]) -> None:
    """Writes outputs to a ``.npz`` file: images as pixels, probabilities as two arrays, keys and values."""
    arrays: dict[str, Array] = {}
    for name, value in results.items():
        if isinstance(value, Mapping):
            arrays[f"{name}.keys"] = np.asarray(list(value))
            arrays[f"{name}.values"] = np.asarray(list(value.values()))
        else:
            arrays[name] = np.asarray(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:  # np.savez takes some names for its own arguments
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def document(value: Any) -> Any:
    """An output as plain Python values, with its type and shape."""
    if isinstance(value, Mapping):
        return {"type": "dictionary", "value": dict(value)}
    if isinstance(value, np.ndarray):
        return {"type": str(value.dtype), "shape": list(value.shape), "value": value.tolist()}
    if _is_image(value):
        pixels = np.asarray(value)
        return {"type": f"{value.mode} image", "shape": list(pixels.shape), "value": pixels.tolist()}
    return {"type": type(value).__name__, "value": value}


def _is_image(value: Any) -> bool:
    return hasattr(value, "getbands")  # Pillow may not be installed, and then nothing is an image


def table_of(results: Mapping[str, Any]) -> Table:
    """Outputs at a glance."""
    made = table("", ["output", "type", "range", "value"])
    made.title = None
    for name, value in results.items():
        made.add_row(text(name), *map(text, glance(value)))
    return made


def glance(value: Any) -> tuple[str, str, str]:
    """Type, range and the first elements."""
    if isinstance(value, Mapping):
        best = sorted(value.items(), key=lambda item: -item[1])[:_SHOWN]
        return f"{len(value)} classes", "", ", ".join(f"{key} {number:.4g}" for key, number in best)
    if _is_image(value):
        return f"{value.mode} image", "", f"{value.width} wide, {value.height} high"
    if not isinstance(value, np.ndarray):
        return type(value).__name__, "", str(value)
    kind = f"{value.dtype} {list(value.shape)}"
    if value.size == 0 or value.dtype.kind not in "fiu":
        return kind, "", str(value.reshape(-1)[:_SHOWN].tolist())
    first = ", ".join(f"{number:.4g}" for number in value.reshape(-1)[:_SHOWN].tolist())
    return kind, f"{value.min():.4g} … {value.max():.4g}", first + (", …" if value.size > _SHOWN else "")
