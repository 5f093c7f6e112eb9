"""From the message of a neural network to plain Python objects, which ``frontends.neuralnetwork`` maps to ops.

The message comes from a file that nobody has vetted: what a layer lacks, or a weight of another size than its layer
says, is an error here, before anything is allocated in proportion to a stated number. Weights are decoded when they are
needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gristmill.errors import FormatError
from gristmill.ir import types
from gristmill.ir.constants import Array, Data, LazyData
from gristmill.package.proto import Message, is_repeated

_DEEPEST = 50
"""Levels of networks in networks: branches and loops."""

_TABLE_BITS = (1, 2, 4, 6, 8)
"""Widths of indices into a table; others are padded."""


class Record:
    """The fields of a message as attributes.

    Scalars are Python's own, repeated fields tuples, enumerations their names; of messages, weights and networks there
    is ``None`` where the file has none.
    """

    def __init__(self, fields: Mapping[str, Any], choices: Mapping[str, str | None]) -> None:
        self._fields, self._choices = fields, choices

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_fields"][name]
        except KeyError:
            raise AttributeError(name) from None

    def choice(self, group: str) -> str | None:
        """Which alternative of a group is there (a ``oneof`` of the schema), by its field's name."""
        return self._choices[group]

    def __repr__(self) -> str:
        return f"Record({', '.join(f'{k}={v!r}' for k, v in self._fields.items())})"


@dataclass(frozen=True)
class Layer:
    """A layer.

    Attributes:
        kind: Its type as the specification calls it, such as ``innerProduct``.
        name: Its own name.
        inputs: Names of the tensors that it reads.
        outputs: Names of those that it makes, or overwrites.
        params: What the specification says of this type of layer.
    """

    kind: str
    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    params: Any


@dataclass(frozen=True)
class Preprocessing:
    """What happens to an image before the first layer.

    Attributes:
        feature: Name of the input; empty for the first image.
        kind: ``scaler`` or ``meanImage``.
        params: What the specification says of it.
    """

    feature: str
    kind: str
    params: Any


@dataclass(frozen=True)
class Network:
    """A network, or one inside a branch or loop.

    Attributes:
        layers: In the order of execution.
        preprocessing: In order.
        exact_arrays: Arrays keep their shapes; otherwise they get rank 5: sequence, batch, channels, height, width.
        exact_images: Images have rank 4; otherwise 5.
        labels: Of a classifier.
        probabilities: Name of the tensor with a classifier's probabilities; empty where nothing says it.
    """

    layers: Sequence[Layer]
    preprocessing: Sequence[Preprocessing] = ()
    exact_arrays: bool = False
    exact_images: bool = False
    labels: Sequence[str] | Sequence[int] = ()
    probabilities: str = ""


def read_network(message: Message) -> Network:
    """Decodes a ``NeuralNetwork``, ``NeuralNetworkClassifier`` or ``NeuralNetworkRegressor``.

    Raises:
        FormatError: A layer or a preprocessing step has no type, or networks are nested too deeply.
    """
    network = _network(message, 0)
    labels: Sequence[str] | Sequence[int] = ()
    fields = message.DESCRIPTOR.fields_by_name
    if "stringClassLabels" in fields and (which := message.WhichOneof("ClassLabels")):
        labels = list(getattr(message, which).vector)
    return Network(
        network.layers,
        network.preprocessing,
        exact_arrays=message.arrayInputShapeMapping == 1,
        exact_images=message.imageInputShapeMapping == 1,
        labels=labels,
        probabilities=message.labelProbabilityLayerName if "labelProbabilityLayerName" in fields else "",
    )


def _network(message: Message, depth: int) -> Network:
    if depth > _DEEPEST:
        raise FormatError("networks are nested too deeply", expected=f"at most {_DEEPEST} levels")
    steps = (
        Preprocessing(step.featureName, *_part(step, "preprocessor", f"preprocessing of '{step.featureName}'", depth))
        for step in message.preprocessing
    )
    return Network([_layer(layer, depth) for layer in message.layers], list(steps))


def _layer(message: Message, depth: int) -> Layer:
    kind, params = _part(message, "layer", f"layer '{message.name}'", depth)
    return Layer(kind, message.name, tuple(message.input), tuple(message.output), params)


def _part(message: Message, group: str, what: str, depth: int) -> tuple[str, Record]:
    kind = message.WhichOneof(group)
    if kind is None:
        raise FormatError(f"{what} has no type", hint="it may be of a type that came after specification version 9")
    return kind, _record(getattr(message, kind), depth)


def _record(message: Message, depth: int) -> Record:
    descriptor = message.DESCRIPTOR
    fields = {field.name: _field(message, field, depth) for field in descriptor.fields}
    choices = {group.name: message.WhichOneof(group.name) for group in descriptor.oneofs}
    return Record(fields, choices)


def _field(message: Message, field: Any, depth: int) -> Any:
    value = getattr(message, field.name)
    kind = field.message_type
    if kind is not None and kind.GetOptions().map_entry:
        return {key: _parameter(item) for key, item in value.items()}
    if is_repeated(field):
        if kind is None:
            return value if field.name == "floatValue" else tuple(value)
        return tuple(_message(item, depth) for item in value)
    if kind is not None:
        return _message(value, depth) if message.HasField(field.name) else None
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        if known is None:
            raise FormatError(f"'{field.name}' has an unknown value", expected=field.enum_type.name, actual=value)
        return known.name
    return value


def _message(message: Message, depth: int) -> Any:
    match message.DESCRIPTOR.name:
        case "WeightParams":
            return Weights(message)
        case "NeuralNetwork":
            return _network(message, depth + 1)
    return _record(message, depth)


def _parameter(message: Message) -> bool | int | float | str | None:
    """A parameter of a custom layer."""
    which = message.WhichOneof("value")
    return None if which is None else getattr(message, which)


# --- weights ---------------------------------------------------------------------------------------------------------


class StoredData(LazyData):
    """Weights, or their codes, that are decoded for each read; a network that is written again holds them as they are.

    Attributes:
        message: What the file holds.
        numbers: The weights that it stands for.
    """

    def __init__(
        self,
        message: Message,
        shape: tuple[int, ...],
        numbers: Callable[[], Array],
        codes: Callable[[], Array] | None = None,
    ) -> None:
        super().__init__(types.uint8 if codes else types.unit_float, shape, codes or numbers, "weights")
        self.message, self.numbers = message, numbers


class Weights:
    """A layer's weights as they stand in the file, to be decoded to float32 when somebody needs them.

    They are float32, float16, or integers of 1 to 8 bits with scale and bias or a table of 2ⁿ values.
    """

    def __init__(self, message: Message) -> None:
        self._message = message

    @property
    def is_empty(self) -> bool:
        """Whether there is none."""
        message = self._message
        return not (message.floatValue or message.float16Value or message.rawValue or message.int8RawValue)

    def data(self, shape: Sequence[int], *, axis: int = 0) -> Data:
        """The weights, untyped, to be read when they are needed.

        Args:
            shape: Theirs.
            axis: The one that has a scale and a bias for each element, where there are several.

        Raises:
            FormatError: There are not as many numbers as the shape says, or they are quantised in an unknown way.
        """
        shape = tuple(shape)
        self._check(math.prod(shape), shape, axis)
        return StoredData(self._message, shape, lambda: self._read(shape, axis))

    def table(self, shape: Sequence[int], *, axis: int = 0) -> tuple[Data, Array] | None:
        """The weights as indices into a table, if one table serves all of them and they are fewer bytes so.

        A scale and a bias that serve all of the weights are a table too.

        Args:
            shape: As for ``data``.
            axis: As for ``data``.

        Returns:
            The indices in one row of bytes, the first one in the lowest bits, and the table of 2, 4, 16, 64 or 256
            numbers.

        Raises:
            FormatError: As of ``data``.
        """
        message, count = self._message, math.prod(shape)
        self._check(count, tuple(shape), axis)
        if not message.rawValue:
            return None
        quantization, bits = message.quantization, self._bits
        if quantization.WhichOneof("QuantizationType") == "lookupTableQuantization":
            table = np.array(quantization.lookupTableQuantization.floatValue, np.float32)
        else:
            scale, bias = (
                quantization.linearQuantization.scale or (1.0,),
                quantization.linearQuantization.bias or (0.0,),
            )
            if len(scale) > 1 or len(bias) > 1:
                return None
            table = np.arange(1 << bits, dtype=np.float32) * np.float32(scale[0]) + np.float32(bias[0])
        wide = next(width for width in _TABLE_BITS if width >= bits)
        size = -(-count * wide // 8)
        if size + 4 * (1 << wide) >= 4 * count:
            return None
        padded = np.zeros(1 << wide, np.float32)
        padded[: len(table)] = table
        indices = StoredData(
            message, (size,), lambda: self._read(tuple(shape), axis), lambda: _lowest_first(self._codes(count), wide)
        )
        return indices, padded

    def raw(self) -> Data:
        """The numbers as one row, for layers whose weights have no known shape."""
        message = self._message
        if message.HasField("quantization"):
            raise FormatError("quantised weights need a shape", expected="float32 or float16 weights")
        count = len(message.floatValue) or len(message.float16Value) // 2
        return self.data((count,))

    def _check(self, count: int, shape: tuple[int, ...], axis: int) -> None:
        message = self._message
        stored: float
        if message.floatValue:
            stored, needed = len(message.floatValue), count
        elif message.float16Value:
            stored, needed = len(message.float16Value) / 2, count
        elif message.int8RawValue:
            stored, needed = len(message.int8RawValue), count
        else:
            stored, needed = len(message.rawValue), -(-count * self._bits // 8)
        if stored != needed:
            raise FormatError(
                "weights have another size than their layer", expected=f"{list(shape)}: {needed}", actual=f"{stored:g}"
            )
        if not (message.rawValue or message.int8RawValue):
            return
        quantization = message.quantization
        match quantization.WhichOneof("QuantizationType"):
            case "linearQuantization":
                for numbers in (quantization.linearQuantization.scale, quantization.linearQuantization.bias):
                    if len(numbers) not in (0, 1) and (not shape or len(numbers) != shape[axis]):
                        raise FormatError(
                            "scales of quantised weights",
                            expected=f"1 or {shape[axis : axis + 1]}",
                            actual=len(numbers),
                        )
            case "lookupTableQuantization":
                found = len(quantization.lookupTableQuantization.floatValue)
                if found != 1 << self._bits:
                    raise FormatError("table of quantised weights", expected=1 << self._bits, actual=found)
            case None:
                raise FormatError("quantised weights say neither scale nor table")

    @property
    def _bits(self) -> int:
        bits = int(self._message.quantization.numberOfBits)
        if not 1 <= bits <= 8:
            raise FormatError("bits of quantised weights", expected="1 to 8", actual=bits)
        return bits

    def _read(self, shape: tuple[int, ...], axis: int) -> Array:
        message = self._message
        if message.floatValue:
            return np.array(message.floatValue, np.float32).reshape(shape)
        if message.float16Value:
            return np.frombuffer(message.float16Value, "<f2").astype(np.float32).reshape(shape)
        codes = self._codes(math.prod(shape)).reshape(shape)
        if message.quantization.WhichOneof("QuantizationType") == "lookupTableQuantization":
            table = np.array(message.quantization.lookupTableQuantization.floatValue, np.float32)
            return table[codes]
        linear = message.quantization.linearQuantization
        scale, bias = (_along(numbers, shape, axis) for numbers in (linear.scale or (1.0,), linear.bias or (0.0,)))
        return codes.astype(np.float32) * scale + bias

    def _codes(self, count: int) -> Array:
        """The integers."""
        message = self._message
        if message.int8RawValue:
            return np.frombuffer(message.int8RawValue, np.int8)
        return unpack_codes(message.rawValue, count, self._bits)


def unpack_codes(packed: bytes, count: int, bits: int) -> Array:
    """Integers of 1 to 8 bits that stand one after the other, the highest bit first."""
    data = np.frombuffer(packed, np.uint8)
    if bits == 8:
        return data
    each = np.unpackbits(data, count=count * bits).reshape(count, bits)
    powers = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint8)
    return each @ powers


def _lowest_first(codes: Array, bits: int) -> Array:
    """Integers of ``bits`` bits one after the other, the first one in the lowest bits of the first byte."""
    if bits == 8:
        return codes
    fields = np.unpackbits(codes[:, None], axis=1, count=bits, bitorder="little")
    return np.packbits(fields, bitorder="little")


def _along(numbers: Sequence[float], shape: Sequence[int], axis: int) -> Array:
    """One number for all, or one for each element of an axis, ready to be multiplied."""
    found = np.array(numbers, np.float32)
    if len(found) == 1:
        return found.reshape((1,) * len(shape))
    return found.reshape([-1 if k == axis else 1 for k in range(len(shape))])
