"""Large models in two parts."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from gristmill.errors import InputError
from gristmill.ir.program import Program
from gristmill.ir.verify import verify
from gristmill.models.features import make_up
from gristmill.models.ml_program.experimental.debugging_utils import compute_snr_and_psnr
from gristmill.models.model import MLModel
from gristmill.package import Package, proto
from gristmill.package.description import describe
from gristmill.package.proto import Message
from gristmill.passes.bisection import bisect

_log = logging.getLogger(__name__)


def bisect_model(
    model: str | os.PathLike[str] | MLModel,
    output_dir: str | os.PathLike[str],
    merge_chunks_to_pipeline: bool = False,
    check_output_correctness: bool = True,
) -> None:
    """Writes a model as two that run one after the other, each with about half of the weights.

    The second takes what the first returns, under the same names, and those of the model's inputs that it needs::

        between = first.predict(inputs)
        outputs = second.predict(between | {name: inputs[name] for name in second.input_description if name in inputs})

    Args:
        model: An ML Program with one function, or its path.
        output_dir: The folder for ``chunk1.mlpackage`` and ``chunk2.mlpackage``; before their names stands that of the
            model where a path is given.
        merge_chunks_to_pipeline: Write one ``chunked_pipeline.mlpackage`` that holds both.
        check_output_correctness: Runs model and halves on made-up inputs, and logs the ratio of signal to noise.

    Raises:
        InputError: It is another kind of model, or has several functions.
        UnsupportedError: There is no place to cut.
    """
    whole = model if isinstance(model, MLModel) else MLModel(model)
    if whole.kind != "mlProgram" or len(whole.program.functions) != 1:
        raise InputError("only an ML Program with one function is cut in two", actual=whole.kind)
    first, second, cut = bisect(whole.program.main)
    _log.info("cut after %s; %d of %d bytes of weights before it", cut.last.title, cut.before, cut.total)
    chunks = [_part(whole, program) for program in (first, second)]
    if check_output_correctness:
        _compare(whole, *chunks)
    folder, prefix = Path(output_dir), "" if isinstance(model, MLModel) else f"{Path(model).stem}_"
    folder.mkdir(parents=True, exist_ok=True)
    if merge_chunks_to_pipeline:
        _save_pipeline(whole, chunks, folder / f"{prefix}chunked_pipeline.mlpackage")
        return
    for number, chunk in enumerate(chunks, start=1):
        chunk.save(folder / f"{prefix}chunk{number}.mlpackage")


def _part(whole: MLModel, program: Program) -> MLModel:
    """A model of one half; inputs and outputs that the whole has too are described as there."""
    verify(program)
    description = described_as(whole.package.description, describe(program))
    return MLModel(Package.from_program(program, description), compute_units=whole.compute_unit)


def _save_pipeline(whole: MLModel, chunks: Sequence[MLModel], path: Path) -> None:
    """Writes models that run one after the other as one, each with a weight file of its own."""
    spec = proto.message("Model")(specificationVersion=max(c.package.specification_version for c in chunks))
    spec.description.CopyFrom(whole.package.description)
    with tempfile.TemporaryDirectory(prefix="gristmill-") as folder:
        for number, chunk in enumerate(chunks):
            part = spec.pipeline.models.add()
            part.CopyFrom(chunk.get_spec())
            spec.pipeline.names.append(f"chunk{number + 1}")
            for file in Path(chunk.weights_dir).iterdir() if chunk.weights_dir is not None else ():
                shutil.copyfile(file, Path(folder) / f"{number}-{file.name}")
            for blob in _blobs(part.mlProgram):
                place, _, name = blob.fileName.rpartition("/")
                blob.fileName = f"{place}/{number}-{name}"
        Package.from_spec(spec, folder).save(path)


def _blobs(message: Message) -> Iterator[Message]:
    """Everything in a message that refers to a weight file."""
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.name == "BlobFileValue":
            yield value
            continue
        parts = value.values() if hasattr(value, "values") and hasattr(value, "items") else value
        for part in parts if hasattr(value, "__len__") else (value,):
            if hasattr(part, "ListFields"):
                yield from _blobs(part)


def described_as(known: Message, new: Message, *, shapes: bool = True) -> Message:
    """A description whose features say what another one says of those of the same name.

    Args:
        known: A ``ModelDescription``.
        new: Another one, changed in place.
        shapes: Take types and shapes too, and not only the texts.
    """
    for kind in ("input", "output"):
        mine = {feature.name: feature for feature in getattr(known, kind)}
        for part in (new, *new.functions):
            for feature in getattr(part, kind):
                if feature.name in mine and shapes:
                    feature.CopyFrom(mine[feature.name])
                elif feature.name in mine:
                    feature.shortDescription = mine[feature.name].shortDescription
    new.metadata.CopyFrom(known.metadata)
    return new


def _compare(whole: MLModel, first: MLModel, second: MLModel) -> None:
    """Logs how far the halves are from the whole; where it has states they start at zero."""
    inputs = make_up([feature for feature in whole.inputs if not feature.optional], 0)
    expected = whole.predict(inputs, whole.make_state())
    between = first.predict(inputs, first.make_state())
    given = between | {name: value for name, value in inputs.items() if name in second.input_description}
    found = second.predict(given, second.make_state())
    for name, value in expected.items():
        if hasattr(value, "shape"):
            _log.info("output '%s': PSNR %.1f dB", name, compute_snr_and_psnr(found[name], value)[1])
