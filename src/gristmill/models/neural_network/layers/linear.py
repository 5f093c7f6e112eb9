"""Products with matrices, and rows of tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gristmill.models.neural_network.layers.core import LayerBuilder, require
from gristmill.models.neural_network.layers.weights import Quantization, Weights, bias_of
from gristmill.package.proto import Message


class LinearLayers(LayerBuilder):
    """Layers whose weights are one matrix, which may be quantised: see ``Quantization`` for the parameters of that."""

    def add_inner_product(
        self,
        name: str,
        W: Weights,
        b: ArrayLike | None,
        input_channels: int,
        output_channels: int,
        has_bias: bool,
        input_name: str,
        output_name: str,
        int_8_dynamic_quantize: bool = False,
        is_quantized_weight: bool = False,
        quantization_type: str = "linear",
        nbits: int = 8,
        quant_scale: ArrayLike | None = None,
        quant_bias: ArrayLike | None = None,
        quant_lut: ArrayLike | None = None,
    ) -> Message:
        """The product with a matrix W [output channels, input channels], plus a bias."""
        op = f"innerProduct '{name}'"
        quantization = Quantization(
            quantization_type, nbits, quant_scale, quant_bias, quant_lut, int_8_dynamic_quantize
        )
        return self._add(
            "innerProduct",
            name,
            input_name,
            output_name,
            inputChannels=input_channels,
            outputChannels=output_channels,
            hasBias=has_bias,
            int8DynamicQuantize=int_8_dynamic_quantize,
            weights=_matrix(W, is_quantized_weight, quantization, (output_channels, input_channels), op),
            bias=bias_of(has_bias, b, output_channels, op),
        )

    def add_embedding(
        self,
        name: str,
        W: Weights,
        b: ArrayLike | None,
        input_dim: int,
        output_channels: int,
        has_bias: bool,
        input_name: str,
        output_name: str,
        is_quantized_weight: bool = False,
        quantization_type: str = "linear",
        nbits: int = 8,
        quant_scale: ArrayLike | None = None,
        quant_bias: ArrayLike | None = None,
        quant_lut: ArrayLike | None = None,
    ) -> Message:
        """Columns of W [output channels, input dim] by index, plus a bias."""
        op = f"embedding '{name}'"
        quantization = Quantization(quantization_type, nbits, quant_scale, quant_bias, quant_lut)
        return self._add(
            "embedding",
            name,
            input_name,
            output_name,
            inputDim=input_dim,
            outputChannels=output_channels,
            hasBias=has_bias,
            weights=_matrix(W, is_quantized_weight, quantization, (output_channels, input_dim), op),
            bias=bias_of(has_bias, b, output_channels, op),
        )

    def add_embedding_nd(
        self,
        name: str,
        input_name: str,
        output_name: str,
        vocab_size: int,
        embedding_size: int,
        W: Weights,
        b: ArrayLike | None = None,
        is_quantized_weight: bool = False,
        quantization_type: str = "linear",
        nbits: int = 8,
        quant_scale: ArrayLike | None = None,
        quant_bias: ArrayLike | None = None,
        quant_lut: ArrayLike | None = None,
    ) -> Message:
        """Columns of W [embedding size, vocab size] by index, along the last axis of [..., 1], plus a bias."""
        op = f"embeddingND '{name}'"
        quantization = Quantization(quantization_type, nbits, quant_scale, quant_bias, quant_lut)
        return self._add(
            "embeddingND",
            name,
            input_name,
            output_name,
            vocabSize=vocab_size,
            embeddingSize=embedding_size,
            hasBias=b is not None,
            weights=_matrix(W, is_quantized_weight, quantization, (embedding_size, vocab_size), op),
            bias=bias_of(b is not None, b, embedding_size, op),
        )

    def add_batched_mat_mul(
        self,
        name: str,
        input_names: Sequence[str],
        output_name: str,
        transpose_a: bool = False,
        transpose_b: bool = False,
        weight_matrix_rows: int = 0,
        weight_matrix_columns: int = 0,
        W: Weights | None = None,
        bias: ArrayLike | None = None,
        int_8_dynamic_quantize: bool = False,
        is_quantized_weight: bool = False,
        quantization_type: str = "linear",
        nbits: int = 8,
        quant_scale: ArrayLike | None = None,
        quant_bias: ArrayLike | None = None,
        quant_lut: ArrayLike | None = None,
    ) -> Message:
        """Products of matrices, broadcast over all axes before the last two.

        The second factor is a second input, or W [weight matrix rows, weight matrix columns] with an optional bias
        [weight matrix columns].
        """
        op = f"batchedMatmul '{name}'"
        constant: dict[str, Any] = {}
        if len(input_names) == 1:
            require(W is not None, "with one input there are weights", op=op)
            rows, columns = weight_matrix_rows, weight_matrix_columns
            quantization = Quantization(
                quantization_type, nbits, quant_scale, quant_bias, quant_lut, int_8_dynamic_quantize
            )
            if isinstance(W, bytes):
                W = quantization.reorder(W, (rows, columns), (1, 0), op)
            elif not is_quantized_weight:
                W = np.asarray(W).T
            constant = {
                "weightMatrixFirstDimension": rows,
                "weightMatrixSecondDimension": columns,
                "hasBias": bias is not None,
                "weights": _matrix(W, is_quantized_weight, quantization, (columns, rows), op),
                "bias": bias_of(bias is not None, bias, columns, op),
            }
        else:
            require(W is None and bias is None, "with two inputs there are no weights and no bias", op=op)
        return self._add(
            "batchedMatmul",
            name,
            input_names,
            output_name,
            transposeA=transpose_a,
            transposeB=transpose_b,
            int8DynamicQuantize=int_8_dynamic_quantize,
            **constant,
        )


def _matrix(W: Any, is_quantized: bool, quantization: Quantization, shape: tuple[int, int], op: str) -> Any:
    """Weights as fields or numbers; bytes are quantised even if nobody says so. Arrays need only the size."""
    if is_quantized or isinstance(W, bytes):
        return quantization.fields(W, shape[0], op)
    weights = np.asarray(W)
    size = shape[0] * shape[1]
    require(weights.size == size, "weights of another size", op=op, expected=list(shape), actual=list(weights.shape))
    return weights
