"""Spoils models of all types and runs them: each runs, or one of our own errors says why not.

    python -m tests.fuzz --seconds 600 --seed 1        # a long search; prints what reproduces each finding
    python -m tests.fuzz --only neuralNetwork/ab12 --seed 1234   # one of them again, with its traceback

Models are changed as bytes and field by field: numbers become extreme ones, names those of others, parts vanish or come
twice.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import sys
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import gristmill as ct
from gristmill.cli.inspect import inspect as describe
from gristmill.errors import GristmillError
from gristmill.models.report import document
from gristmill.package import proto
from tests.models.classic import specs

CASES = Path(__file__).parent / "conformance" / "cases"
INTEGERS = (0, 1, -1, 2, 3, 7, 255, 1 << 15, (1 << 31) - 1, -(1 << 31), 1 << 40, (1 << 63) - 1, -(1 << 63))
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e38, 1e308, float("inf"), -float("inf"), float("nan"))
LARGEST = 1 << 18
"""Elements of the largest input that is made up."""
PATIENCE = 20
"""Seconds that one model may take in a long search."""


def models() -> dict[str, bytes]:
    """Models to begin with, by a name: one of each classic type, and the sample's networks."""
    found = {f"classic/{kind}": make().SerializeToString(deterministic=True) for kind, make in specs.EVERY.items()}
    with zipfile.ZipFile(CASES / "networks.zip") as archive:
        for name in archive.namelist():
            if name.endswith("model.mlmodel"):
                found[f"network/{name.split('/')[0]}"] = archive.read(name)
    return found


# --- spoiling --------------------------------------------------------------------------------------------------------


def spoiled(data: bytes, choose: random.Random) -> bytes:
    """The model with one to three changes."""
    for _ in range(choose.randint(1, 3)):
        data = _field_changed(data, choose) if choose.random() < 0.7 else _bytes_changed(data, choose)
    return data


def _bytes_changed(data: bytes, choose: random.Random) -> bytes:
    changed = bytearray(data or b"\0")
    place = choose.randrange(len(changed))
    match choose.randrange(3):
        case 0:
            changed[place] = choose.randrange(256)
        case 1:
            del changed[place : place + choose.randint(1, 9)]
        case 2:
            changed.insert(place, choose.randrange(256))
    return bytes(changed)


def _field_changed(data: bytes, choose: random.Random) -> bytes:
    try:
        model = proto.parse("Model", data)
    except GristmillError:
        return _bytes_changed(data, choose)
    places = list(_places(model))
    if places:
        _change(*choose.choice(places), choose)
    return bytes(model.SerializeToString())


def _places(message: Any) -> Iterator[tuple[Any, Any]]:
    """All fields that a message and those in it have."""
    for field, value in message.ListFields():
        yield message, field
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        for inner in [value] if hasattr(value, "ListFields") else value:
            yield from _places(inner)


def _change(message: Any, field: Any, choose: random.Random) -> None:
    value = getattr(message, field.name)
    if choose.random() < 0.2:
        message.ClearField(field.name)
    elif hasattr(value, "ListFields"):
        for inner in value.DESCRIPTOR.fields:  # another alternative, or a part that was not there
            if (
                inner.message_type is not None
                and choose.random() < 0.3
                and hasattr(getattr(value, inner.name), "SetInParent")
            ):
                getattr(value, inner.name).SetInParent()
                break
    elif isinstance(value, Mapping) or field.message_type is not None:
        if len(value) and hasattr(value, "add"):
            if choose.random() < 0.5:
                del value[choose.randrange(len(value))]
            else:
                value.add().CopyFrom(value[choose.randrange(len(value))])
    elif hasattr(value, "append"):
        if len(value):
            value[choose.randrange(len(value))] = _other(field, value[0], choose)
        if choose.random() < 0.3:
            value.append(_other(field, value[0] if len(value) else None, choose))
    else:
        setattr(message, field.name, _other(field, value, choose))


def _other(field: Any, value: Any, choose: random.Random) -> Any:
    """Another value of a field's type."""
    match field.cpp_type:
        case field.CPPTYPE_INT32 | field.CPPTYPE_INT64 | field.CPPTYPE_UINT32 | field.CPPTYPE_UINT64:
            bits = 32 if field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_UINT32) else 64
            unsigned = field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_UINT64)
            number = choose.choice((*INTEGERS, int(value or 0) + 1, int(value or 0) - 1)) % (1 << bits)
            return number if unsigned or number < 1 << (bits - 1) else number - (1 << bits)
        case field.CPPTYPE_ENUM:
            return choose.choice([each.number for each in field.enum_type.values])
        case field.CPPTYPE_BOOL:
            return not value
        case field.CPPTYPE_FLOAT | field.CPPTYPE_DOUBLE:
            return choose.choice(FLOATS)
        case _:
            if isinstance(value, bytes):
                return value[: choose.randrange(len(value) + 1)]
            return choose.choice(["", "x", "y", "data", "output", str(value)[:-1], f"{value}?"])


# --- running ---------------------------------------------------------------------------------------------------------


def outcome(data: bytes, choose: random.Random) -> str:
    """Runs a model on made-up inputs: ``runs``, or the name of one of our errors.

    Raises:
        Exception: Any other error, which must not be.
    """
    try:
        model = ct.models.MLModel(proto.parse("Model", data))
        _look_at(model)
        model.predict({feature.name: made_up(feature, choose) for feature in model.get_spec().description.input})
    except GristmillError as error:
        str(error)
        return type(error).__name__
    return "runs"


def _look_at(model: ct.models.MLModel) -> None:
    """What one can do with a model without running it."""
    describe(model.package)
    for look in (lambda: repr(model), lambda: model.stages, lambda: model.plan("A17"), lambda: document(model)):
        with contextlib.suppress(GristmillError):
            look()


def made_up(feature: Any, choose: random.Random) -> Any:
    """A value for a described input."""
    kind = feature.type.WhichOneof("Type")
    match kind:
        case "multiArrayType":
            shape = [max(0, n) for n in feature.type.multiArrayType.shape]
            if max([1, *shape]) > LARGEST or np.prod(shape, dtype=object) > LARGEST:
                shape = [1] * len(shape)
            whole = feature.type.multiArrayType.dataType == specs.INTEGERS
            values = np.random.default_rng(choose.randrange(99)).standard_normal(shape)
            return np.abs(values).astype(np.int32) if whole else values.astype(np.float32)
        case "imageType":
            image = feature.type.imageType
            size = (image.width, image.height) if 0 < image.width * image.height <= LARGEST else (2, 2)
            gray = image.colorSpace == image.ColorSpace.GRAYSCALE
            return Image.new("L" if gray else "RGB", tuple(max(1, n) for n in size), 100)
        case "dictionaryType":
            integers = feature.type.dictionaryType.WhichOneof("KeyType") == "int64KeyType"
            return {1: 1.0} if integers else {"a": 1.0}
        case "sequenceType":
            return [1] if feature.type.sequenceType.WhichOneof("Type") == "int64Type" else ["a"]
        case "stringType":
            return "a"
        case _:
            return 1 if kind == "int64Type" else 1.0


# --- a long search ---------------------------------------------------------------------------------------------------


def _too_long(*_: object) -> None:
    raise TimeoutError(f"longer than {PATIENCE} seconds")


def main() -> int:
    """Searches for some time; gives the number of findings, 1 at most."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="NAME", help="one model, spoiled by the seed alone")
    options = parser.parse_args()
    begun, seeds = models(), random.Random(options.seed)
    signal.signal(signal.SIGALRM, _too_long)
    names, counts, findings = list(begun), Counter[str](), Counter[str]()
    end = time.monotonic() + options.seconds
    while time.monotonic() < end:
        name, seed = (options.only, options.seed) if options.only else (seeds.choice(names), seeds.randrange(1 << 40))
        choose = random.Random(seed)
        print(f"{name} {seed}", file=sys.stderr, end="\r")  # the last line of a crash
        signal.alarm(PATIENCE)
        try:
            counts[outcome(spoiled(begun[name], choose), choose)] += 1
        except Exception as error:  # what is searched for
            if isinstance(error, TimeoutError) and "control_flow.py" in traceback.format_exc():
                counts["loops for ever"] += 1  # as it says
                continue
            frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "gristmill" in frame.filename]
            place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
            findings[f"{type(error).__name__} {place}"] += 1
            if findings[f"{type(error).__name__} {place}"] == 1:
                print(f"--only {name} --seed {seed}: {type(error).__name__} at {place}: {str(error)[:200]}", flush=True)
            if options.only:
                traceback.print_exc()
        signal.alarm(0)
        if options.only:
            break
    print(dict(counts), dict(findings), sep="\n")
    return min(1, len(findings))


if __name__ == "__main__":
    sys.exit(main())
