"""Plans that Core ML made on Apple's hardware, as far as they are public, beside those of Gristmill.

python -m tools.measured_plans            # writes the table in docs/placement.md
python -m tools.measured_plans --check    # fails when the table is not what would be written

Each measurement says where it is from. The programs are rebuilt from what the source says of them; what it does not say
is stated in the measurement's note. Facts are what ``MLComputePlan`` reported: the unit that an op prefers, or all that
it supports.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from gristmill.ir.builder import mb
from gristmill.ir.opset import Opset
from gristmill.ir.program import Function, Program, Value
from gristmill.ir.types import TensorType, fp16, fp32, int32
from gristmill.runtime.partition import partition
from gristmill.runtime.plan import CPU, GPU, NEURAL_ENGINE, Plan

PAGE = Path(__file__).parent.parent / "docs" / "placement.md"
BEGIN, END = "<!-- measured plans -->", "<!-- end of measured plans -->"

NE = NEURAL_ENGINE
Build: TypeAlias = Callable[..., Value | tuple[Value, ...]]


@dataclass(frozen=True)
class Fact:
    """What was reported of ops.

    Attributes:
        ops: Their names, a prefix of them, or ``*`` for all that have no fact of their own.
        preferred: The unit that they preferred.
        supported: All units that they could run on.
        known: Why Gristmill says something else, where it does.
    """

    ops: str
    preferred: str | None = None
    supported: frozenset[str] | None = None
    known: str = ""


@dataclass(frozen=True)
class Measurement:
    """One plan, or a part of one.

    Attributes:
        title: What was measured.
        url: Where it is published.
        chip: Of the computer.
        units: That were allowed.
        make: The program.
        facts: What was reported; of two that fit an op the first counts.
        note: What the source does not say.
    """

    title: str
    url: str
    chip: str
    units: str
    make: Callable[[], Function]
    facts: Sequence[Fact]
    note: str = ""


@dataclass(frozen=True)
class Agreement:
    """How a plan compares with what was measured.

    Attributes:
        measurement: What was measured.
        preferred: Ops on the same unit, and all that a preference is known of.
        supported: Ops with the same units, and all that these are known of.
        differences: Name of the op, what was measured, what the plan says, and why, if that is known.
    """

    measurement: Measurement
    preferred: tuple[int, int]
    supported: tuple[int, int]
    differences: list[tuple[str, str, str, str]]


@cache
def agreement(measurement: Measurement) -> Agreement:
    """Places the program of a measurement and compares."""
    plan = partition(measurement.make(), measurement.chip, measurement.units)
    same = {"preferred": 0, "supported": 0}
    known = dict.fromkeys(same, 0)
    differences = []
    for name, fact in _facts_of(plan, measurement):
        placement = next(p for p in plan.placements if p.name == name)
        for kind, measured, mine in (
            ("preferred", fact.preferred and {fact.preferred}, {placement.unit}),
            ("supported", fact.supported, set(placement.supported)),
        ):
            if measured:
                known[kind] += 1
                same[kind] += measured == mine
                if measured != mine:
                    differences.append((f"{name} ({placement.op.op_name})", _names(measured), _names(mine), fact.known))
    return Agreement(
        measurement,
        (same["preferred"], known["preferred"]),
        (same["supported"], known["supported"]),
        differences,
    )


def _facts_of(plan: Plan, measurement: Measurement) -> Iterator[tuple[str, Fact]]:
    for placement in plan.placements:
        for fact in measurement.facts:
            if fact.ops == "*" or placement.name.startswith(fact.ops):
                yield placement.name, fact
                break


def _names(units: Iterable[str]) -> str:
    return " and ".join({CPU: "CPU", GPU: "GPU", NE: "NE"}[unit] for unit in sorted(units))


# --- programs --------------------------------------------------------------------------------------------------------


def function(inputs: dict[str, TensorType], build: Build, opset: Opset = Opset.iOS17) -> Function:
    program = Program()
    with mb.function(program, "main", inputs, opset) as values:
        made = build(*values)
        mb.output(*(made if isinstance(made, tuple) else (made,)))
    return program.main


def zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float16)


def product(size: int, wide: bool = False) -> Function:
    """A matrix product on float32 inputs, computed in float16 between casts, or in float32."""

    def build(x: Value, y: Value) -> Value:
        if wide:
            return mb.matmul(x=x, y=y, name="matmul")
        x, y = (mb.cast(x=value, dtype="fp16", name=f"cast_{i}") for i, value in enumerate((x, y)))
        return mb.cast(x=mb.matmul(x=x, y=y, name="matmul"), dtype="fp32", name="cast_out")

    return function({"x": TensorType(fp32, (size, size)), "y": TensorType(fp32, (size, size))}, build)


def attention(heads: int, length: int, width: int, wide: bool = False) -> Function:
    kind = TensorType(fp32 if wide else fp16, (1, heads, length, width))
    inputs = {"q": kind, "k": kind, "v": kind}
    return function(
        inputs,
        lambda q, k, v: mb.scaled_dot_product_attention(query=q, key=k, value=v, name="attention"),
        Opset.iOS18,
    )


def projection(inputs: int, outputs: int) -> Function:
    weight = zeros(outputs, inputs)
    return function({"x": TensorType(fp16, (1, inputs))}, lambda x: mb.linear(x=x, weight=weight, name="projection"))


def mobilenet_edgetpu() -> Function:
    """MobileNetEdgeTPU of MLPerf Mobile, 224 × 224, with its preprocessing in float32."""

    def build(image: Value) -> Value:
        x = mb.mul(x=image, y=np.float32(1 / 127.5), name="scale")
        x = mb.add(x=x, y=np.float32(-1), name="shift")
        x = mb.cast(x=x, dtype="fp16", name="narrow")
        x = _conv(x, 32, 3, 2)
        x = _conv(x, 16, 3, act=False)
        x = _fused(x, 32, 8, 2)
        for _ in range(3):
            x = _fused(x, 32, 4)
        x = _fused(x, 48, 8, 2)
        for _ in range(3):
            x = _fused(x, 48, 4)
        for channels, kernel, stride in ((96, 3, 2), (96, 3, 1), (160, 5, 2)):
            x = _inverted(x, channels, 8, kernel, stride, residual=False)
            for _ in range(3):
                x = _inverted(x, channels, 4, kernel)
        x = _inverted(x, 192, 8, 3, residual=False)
        x = _conv(x, 1280, 1)
        x = mb.avg_pool(x=x, kernel_sizes=[7, 7], strides=[1, 1], pad_type="valid", name="pool")
        x = mb.conv(x=x, weight=zeros(1001, 1280, 1, 1), bias=zeros(1001), name="classes")
        x = mb.transpose(x=x, perm=[0, 2, 3, 1], name="transpose")
        x = mb.softmax(x=mb.squeeze(x=x, axes=[1, 2], name="squeeze"), axis=-1, name="softmax")
        return mb.cast(x=x, dtype="fp32", name="wide")

    return function({"image": TensorType(fp32, (1, 3, 224, 224))}, build)


def _conv(x: Value, channels: int, kernel: int, stride: int = 1, *, act: bool = True, groups: int = 1) -> Value:
    weight = zeros(channels, int(str(x.shape[1])) // groups, kernel, kernel)
    x = mb.conv(x=x, weight=weight, bias=zeros(channels), strides=[stride] * 2, pad_type="same", groups=groups)
    return mb.relu(x=x) if act else x


def _fused(x: Value, channels: int, expansion: int, stride: int = 1) -> Value:
    inner = expansion * int(str(x.shape[1]))
    y = _conv(_conv(x, inner, 3, stride), channels, 1, act=False)
    return mb.add(x=x, y=y) if stride == 1 else y


def _inverted(x: Value, channels: int, expansion: int, kernel: int, stride: int = 1, *, residual: bool = True) -> Value:
    inner = expansion * int(str(x.shape[1]))
    y = _conv(_conv(x, inner, 1), inner, kernel, stride, groups=inner)
    y = _conv(y, channels, 1, act=False)
    return mb.add(x=x, y=y) if residual else y


def mel_spectrogram() -> Function:
    """The beginning of Whisper's features: 30 seconds of sound, windows of 400 samples every 160."""

    def build(audio: Value) -> tuple[Value, ...]:
        x = mb.reshape(x=audio, shape=[1, 1, 480_000], name="reshape_1")
        x = mb.pad(x=x, pad=[0, 0, 0, 0, 200, 200], mode="reflect", name="pad")
        x = mb.reshape(x=x, shape=[480_400], name="reshape_2")
        x = mb.expand_dims(x=mb.expand_dims(x=x, axes=[0], name="expand_1"), axes=[0], name="expand_2")
        parts = []
        for part in ("real", "imaginary"):
            y = mb.conv(x=x, weight=zeros(201, 1, 400), strides=[160], name=f"conv_{part}")
            parts.append(mb.square(x=mb.squeeze(x=y, axes=[0], name=f"squeeze_{part}"), name=f"square_{part}"))
        return tuple(parts)

    return function({"audio": TensorType(fp16, (480_000,))}, build, Opset.iOS16)


def encoder(layers: int, width: int, heads: int, length: int = 64) -> Function:
    """A transformer in the layout [1, channels, 1, length], after Apple's article."""

    def layer(x: Value) -> Value:
        q, k, v = (_pointwise(_norm(x), width) for _ in range(3))
        parts = [mb.split(x=value, num_splits=heads, axis=1) for value in (q, k, v)]
        made = []
        for mine, theirs, values in zip(*parts, strict=True):
            scores = mb.einsum(values=(mine, mb.transpose(x=theirs, perm=[0, 3, 2, 1])), equation="bchq,bkhc->bkhq")
            weights = mb.softmax(x=scores, axis=1)
            made.append(mb.einsum(values=(weights, values), equation="bkhq,bchk->bchq"))
        x = mb.add(x=x, y=_pointwise(mb.concat(values=tuple(made), axis=1), width))
        return mb.add(x=x, y=_pointwise(mb.gelu(x=_pointwise(_norm(x), 4 * width)), width))

    def build(x: Value) -> Value:
        for _ in range(layers):
            x = layer(x)
        return x

    return function({"x": TensorType(fp16, (1, width, 1, length))}, build)


def _norm(x: Value) -> Value:
    centred = mb.sub(x=x, y=mb.reduce_mean(x=x, axes=[1], keep_dims=True))
    variance = mb.reduce_mean(x=mb.square(x=centred), axes=[1], keep_dims=True)
    return mb.mul(x=centred, y=mb.rsqrt(x=variance, epsilon=np.float16(1e-5)))


def _pointwise(x: Value, channels: int) -> Value:
    return mb.conv(x=x, weight=zeros(channels, int(str(x.shape[1])), 1, 1), bias=zeros(channels))


def rms_norm_layer() -> Function:
    """Root-mean-square norm and projections, as in the language model of VoxCPM."""

    def build(x: Value) -> Value:
        square = mb.mul(x=x, y=x, name="mul_square")
        mean = mb.reduce_mean(x=square, axes=[1], keep_dims=True, name="reduce_mean")
        scale = mb.rsqrt(x=mb.add(x=mean, y=np.float16(1e-5), name="add_epsilon"), epsilon=np.float16(0), name="rsqrt")
        y = mb.conv(x=mb.mul(x=x, y=scale, name="mul_scale"), weight=zeros(1024, 1024, 1, 1), name="conv")
        return mb.add(x=x, y=mb.reshape(x=y, shape=[1, 1024, 1, 64], name="reshape"), name="add_residual")

    return function({"x": TensorType(fp16, (1, 1024, 1, 64))}, build, Opset.iOS18)


def best_boxes() -> Function:
    """An image's patches as tokens, and the best of them chosen by score, as in RF-DETR."""

    def build(image: Value) -> Value:
        x = mb.conv(x=image, weight=zeros(384, 3, 16, 16), strides=[16, 16], name="patches")
        x = mb.transpose(x=mb.reshape(x=x, shape=[1, 384, 576], name="tokens"), perm=[0, 2, 1], name="transpose")
        x = mb.layer_norm(x=x, axes=[-1], gamma=zeros(384), beta=zeros(384), name="layer_norm")
        x = mb.gelu(x=mb.linear(x=x, weight=zeros(1536, 384), name="linear_1"), name="gelu")
        x = mb.linear(x=x, weight=zeros(384, 1536), name="linear_2")
        scores = mb.reduce_max(x=mb.linear(x=x, weight=zeros(91, 384), name="linear_3"), axes=[-1], name="reduce_max")
        _, indices = mb.topk(x=scores, k=300, axis=1, name="topk")
        indices = mb.tile(x=mb.expand_dims(x=indices, axes=[-1], name="expand_dims"), reps=[1, 1, 384], name="tile")
        return mb.gather_along_axis(x=x, indices=indices, axis=1, name="gather_along_axis")

    return function({"image": TensorType(fp16, (1, 3, 384, 384))}, build)


def embedding() -> Function:
    """The first ops of GPT-2: looking tokens up, and an element-wise product."""

    def build(tokens: Value) -> Value:
        x = mb.gather(x=zeros(50_257, 768), indices=tokens, axis=0, name="gather")
        return mb.mul(x=x, y=x, name="mul")

    return function({"tokens": TensorType(int32, (1, 512))}, build, Opset.iOS16)


def recurrent() -> Function:
    kind = TensorType(fp16, (1, 64))
    weights = {
        "weight_ih": zeros(256, 128), "weight_hh": zeros(256, 64), "bias": zeros(256),
    }  # fmt: skip
    return function(
        {"x": TensorType(fp16, (16, 1, 128)), "h": kind, "c": kind},
        lambda x, h, c: mb.lstm(x=x, initial_h=h, initial_c=c, **weights, name="lstm"),
    )


# --- what was measured -----------------------------------------------------------------------------------------------

BOTH = frozenset({CPU, NE})
ALL = frozenset({CPU, GPU, NE})
NO_FLOAT32 = "Core ML lets the Neural Engine make casts from and to float32; the contract keeps float32 off it"
PRICED_BY_BYTES = "Core ML's choice follows the operands' size, not the arithmetic"

_VX = "https://github.com/vx-lang/Vx/issues/"
_MERIDIAN = "https://ask-meridian.uk/blog/apple-neural-engine-eligibility-vs-placement/"

MEASUREMENTS: Sequence[Measurement] = (
    Measurement(
        "MobileNetEdgeTPU, all ops",
        "https://github.com/freedomtan/coreml_modelc_profling/blob/main/without_compute_plan_2.csv",
        "M2", "ALL", mobilenet_edgetpu,
        (
            Fact("scale", CPU, frozenset({CPU, GPU})),
            Fact("shift", CPU, frozenset({CPU, GPU})),
            Fact("narrow", CPU, frozenset({CPU, GPU})),
            Fact("wide", CPU, frozenset({CPU, GPU})),
            Fact("*", NE, ALL),
        ),
        "The chip is not named; Core ML priced memory at 100 GB/s, as of an M2 or M3.",
    ),
    *(
        Measurement(
            f"Matrix product of {size} × {size} in float16", f"{_VX}{issue}", "M4", "CPU_AND_NE",
            lambda size=size: product(size),
            (Fact("matmul", unit, BOTH if size == 4 else None), Fact("cast", unit, known=NO_FLOAT32)),
        )
        for size, unit, issue in ((4, CPU, 436), (384, CPU, 435), (512, NE, 435))
    ),
    Measurement(
        "Matrix product of 512 × 512 in float32", f"{_VX}435", "M4", "CPU_AND_NE",
        lambda: product(512, wide=True), (Fact("matmul", CPU),),
    ),
    *(
        Measurement(
            f"Attention of {heads} × {length} × {width} in {'float32' if wide else 'float16'}", f"{_VX}437", "M4",
            "CPU_AND_NE", lambda h=heads, n=length, e=width, w=wide: attention(h, n, e, w),
            (Fact("attention", unit, known=PRICED_BY_BYTES),),
        )
        for heads, length, width, wide, unit in (
            (1, 128, 64, False, CPU), (1, 2048, 128, False, CPU), (8, 512, 64, False, CPU), (16, 1024, 64, False, CPU),
            (16, 1024, 64, True, CPU), (32, 1024, 128, True, CPU),
            (16, 2048, 64, False, NE), (32, 1024, 128, False, NE),
        )
    ),
    *(
        Measurement(
            f"Projection of {inputs:,} to {outputs:,}", "https://github.com/chrishayuk/larql/pull/312", "M3",
            "CPU_AND_NE", lambda i=inputs, o=outputs: projection(i, o), (fact,),
            "The chip is not named in what is public; its GPU reads 289 GB/s.",
        )
        for inputs, outputs, fact in (
            (2048, 17_408, Fact("projection", CPU, known="preferred from a depth of 4,992 on, whatever the size")),
            (5120, 17_408, Fact("projection", NE, BOTH, "both read the same bytes at the same rate")),
            (17_408, 5120, Fact("projection", CPU, frozenset({CPU}))),
        )
    ),
    Measurement(
        "Whisper's mel spectrogram, its first ops",
        "https://huggingface.co/mickekringai/kb-whisper-coreml/blob/main/large/MelSpectrogram.mlcomputeplan.json",
        "M1", "CPU_AND_NE", mel_spectrogram,
        (Fact("pad", CPU, frozenset({CPU})), Fact("conv", CPU, frozenset({CPU})), Fact("*", None, BOTH)),
        "The chip is not named; preferences were those in the whole model, so of most ops only the support counts.",
    ),
    Measurement(
        "Encoder of 6 layers of 384 channels", _MERIDIAN, "M1", "CPU_AND_NE", lambda: encoder(6, 384, 6),
        (Fact("*", NE),),
        "The chip is not named; layers are rebuilt after Apple's article, positions from the number of outputs.",
    ),
    Measurement(
        "Encoder of 2 layers of 128 channels", _MERIDIAN, "M1", "CPU_AND_NE", lambda: encoder(2, 128, 4),
        (Fact("*", CPU),), "As above.",
    ),
    Measurement(
        "Norm and projection of VoxCPM", "https://github.com/0seba/VoxCPMANE/issues/15", "M5", "CPU_AND_NE",
        rms_norm_layer, (Fact("*", None, BOTH),), "Sizes are not given; the preference was for the whole layer.",
    ),
    Measurement(
        "RF-DETR: patches, layers, choice of boxes", "https://github.com/roboflow/rf-detr/pull/1495", "M3",
        "CPU_AND_NE", best_boxes,
        (
            Fact("topk", CPU), Fact("expand_dims", CPU), Fact("tile", CPU), Fact("gather_along_axis", CPU),
            Fact("*", NE),
        ),
        "One of each kind of op of a model of 600, in its sizes.",
    ),
    Measurement(
        "GPT-2's embedding", "https://github.com/smpanaro/CoreMLInspect/blob/main/README.md", "M1", "ALL", embedding,
        (Fact("gather", None, frozenset({CPU, GPU})), Fact("mul", None, ALL)), "The chip is not named.",
    ),
    Measurement(
        "LSTM, by a maintainer of coremltools", "https://github.com/apple/coremltools/issues/1780", "A15", "CPU_AND_NE",
        recurrent, (Fact("lstm", CPU, frozenset({CPU})),), "Said of all chips.",
    ),
)  # fmt: skip


# --- the table -------------------------------------------------------------------------------------------------------


def table(found: Sequence[Agreement]) -> str:
    """The part of docs/placement.md that is about measured plans."""
    lines = [
        BEGIN,
        "| measured | chip | same unit | same support | what differs |",
        "|---|---|--:|--:|---|",
    ]
    for item in found:
        kinds: dict[tuple[str, str, str], list[str]] = {}
        for name, measured, mine, known in item.differences:
            kinds.setdefault((measured, mine, known), []).append(name)
        differences = "; ".join(
            f"{_listed(names)}: measured {measured}, here {mine}" + (f" ({known})" if known else "")
            for (measured, mine, known), names in kinds.items()
        )
        note = f" {item.measurement.note}" if item.measurement.note else ""
        lines.append(
            f"| [{item.measurement.title}]({item.measurement.url}).{note} | {item.measurement.chip} "
            f"| {_share(item.preferred)} | {_share(item.supported)} | {differences} |"
        )
    preferred, supported = total(found)
    whole = sum(not item.differences for item in found)
    summary = (
        f"Of {len(found)} measurements {whole} agree in every op. Op by op, where a few long programs count most: the "
        f"same unit for {_of(preferred)}, the same support for {_of(supported)}."
    )
    lines += ["", summary, END]
    return "\n".join(lines)


def total(found: Sequence[Agreement]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Sums over measurements."""

    def summed(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
        same, known = zip(*pairs, strict=True)
        return sum(same), sum(known)

    return summed(item.preferred for item in found), summed(item.supported for item in found)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} others"


def _share(pair: tuple[int, int]) -> str:
    return f"{pair[0]} of {pair[1]}" if pair[1] else ""


def _of(pair: tuple[int, int]) -> str:
    return f"{pair[0]} of {pair[1]} ops ({pair[0] / pair[1]:.0%})"


def page_with(text: str, part: str) -> str:
    """A page with its part between the marks replaced."""
    before, _, rest = text.partition(BEGIN)
    return before + part + rest.partition(END)[2]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail when the table is not fresh; write nothing")
    options = parser.parse_args(arguments)
    text = PAGE.read_text(encoding="utf-8")
    fresh = page_with(text, table([agreement(item) for item in MEASUREMENTS]))
    if options.check:
        return int(text != fresh)
    PAGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
