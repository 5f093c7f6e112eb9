"""Generated from the op classes by `python -m tools.generate`; do not edit."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from gristmill.ir.constants import Constant, Data
from gristmill.ir.program import Block, Value

Tensor: TypeAlias = Value | Constant | Data | np.ndarray[Any, np.dtype[Any]] | Sequence[Any] | bool | int | float | str

class OpMethods:
    def op(self, op_name: str, *, name: str | None = None, blocks: Sequence[Block] = (), **operands: Any) -> Any: ...
    def __getattr__(self, op_name: str) -> Any: ...
    def abs(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def acos(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def add(
        self,
        *,
        x: Tensor,
        y: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def affine(
        self,
        *,
        x: Tensor,
        transform_matrix: Tensor,
        output_height: Value | Constant | np.generic | int,
        output_width: Value | Constant | np.generic | int,
        sampling_mode: Value | Constant | np.generic | str,
        padding_mode: Value | Constant | np.generic | str,
        padding_value: Value | Constant | np.generic | float,
        coordinates_mode: Value | Constant | np.generic | str,
        align_corners: Value | Constant | np.generic | bool,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def argsort(
        self,
        *,
        x: Tensor,
        axis: Value | Constant | np.generic | int | None = None,
        ascending: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def asin(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def atan(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def atanh(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def avg_pool(
        self,
        *,
        x: Tensor,
        kernel_sizes: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any],
        pad_type: Value | Constant | np.generic | str,
        strides: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        pad: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        ceil_mode: Value | Constant | np.generic | bool | None = None,
        exclude_padding_from_average: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def band_part(
        self,
        *,
        x: Tensor,
        lower: Value | Constant | np.generic | int | None = None,
        upper: Value | Constant | np.generic | int | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def batch_norm(
        self,
        *,
        x: Tensor,
        mean: Tensor,
        variance: Tensor,
        gamma: Tensor | None = None,
        beta: Tensor | None = None,
        epsilon: Value | Constant | np.generic | float | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def batch_to_space(
        self,
        *,
        x: Tensor,
        block_shape: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any],
        crops: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def cast(
        self,
        *,
        x: Tensor,
        dtype: Value | Constant | np.generic | str,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def ceil(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def clamped_relu(
        self,
        *,
        x: Tensor,
        alpha: Value | Constant | np.generic | float,
        beta: Value | Constant | np.generic | float,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def classify(
        self,
        *,
        probabilities: Tensor,
        classes: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def clip(
        self,
        *,
        x: Tensor,
        alpha: Value | Constant | np.generic | float,
        beta: Value | Constant | np.generic | float,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def concat(
        self,
        *,
        values: Sequence[Tensor],
        axis: Value | Constant | np.generic | int,
        interleave: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def cond(
        self,
        *,
        pred: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def constexpr_affine_dequantize(
        self,
        *,
        quantized_data: Tensor,
        zero_point: Tensor,
        scale: Tensor,
        axis: Value | Constant | np.generic | int,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def constexpr_blockwise_shift_scale(
        self,
        *,
        data: Tensor,
        scale: Tensor,
        offset: Tensor | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def constexpr_cast(
        self,
        *,
        source_val: Tensor,
        output_dtype: Value | Constant | np.generic | str,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def constexpr_lut_to_dense(
        self,
        *,
        indices: Tensor,
        lut: Tensor,
        shape: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        vector_axis: Value | Constant | np.generic | int | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def constexpr_lut_to_sparse(
        self,
        *,
        indices_mask: Tensor,
        indices_nonzero_data: Tensor,
        lut: Tensor,
        vector_axis: Value | Constant | np.generic | int | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def constexpr_sparse_blockwise_shift_scale(
        self,
        *,
        data_mask: Tensor,
        nonzero_data: Tensor,
        scale: Tensor,
        offset: Tensor | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def constexpr_sparse_to_dense(
        self,
        *,
        nonzero_data: Tensor,
        mask: Tensor,
        shape: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def conv(
        self,
        *,
        x: Tensor,
        weight: Tensor,
        strides: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        pad_type: Value | Constant | np.generic | str | None = None,
        pad: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        dilations: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        groups: Value | Constant | np.generic | int | None = None,
        bias: Tensor | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def conv_quantized(
        self,
        *,
        x: Tensor,
        weight: Tensor,
        quantization_type: Value | Constant | np.generic | str,
        quant_scale: Tensor,
        quant_bias: Tensor,
        strides: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        pad_type: Value | Constant | np.generic | str | None = None,
        pad: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        dilations: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        groups: Value | Constant | np.generic | int | None = None,
        bias: Tensor | None = None,
        nbits: Value | Constant | np.generic | int | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def conv_transpose(
        self,
        *,
        x: Tensor,
        weight: Tensor,
        strides: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        pad_type: Value | Constant | np.generic | str | None = None,
        pad: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        dilations: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        groups: Value | Constant | np.generic | int | None = None,
        bias: Tensor | None = None,
        output_shape: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def coreml_update_state(
        self,
        *,
        state: Tensor,
        value: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def cos(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def cosh(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def crop(
        self,
        *,
        x: Tensor,
        crop_height: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any],
        crop_width: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any],
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def crop_resize(
        self,
        *,
        x: Tensor,
        roi: Tensor,
        boxes: Tensor,
        box_indices: Tensor | None = None,
        target_height: Value | Constant | np.generic | int | None = None,
        target_width: Value | Constant | np.generic | int | None = None,
        normalized_coordinates: Value | Constant | np.generic | bool | None = None,
        spatial_scale: Value | Constant | np.generic | float | None = None,
        box_coordinate_mode: Value | Constant | np.generic | str | None = None,
        sampling_mode: Value | Constant | np.generic | str | None = None,
        pad_value: Value | Constant | np.generic | float | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def cumsum(
        self,
        *,
        x: Tensor,
        axis: Value | Constant | np.generic | int | None = None,
        exclusive: Value | Constant | np.generic | bool | None = None,
        reverse: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def depth_to_space(
        self,
        *,
        x: Tensor,
        block_size: Value | Constant | np.generic | int,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def dequantize(
        self,
        *,
        scale: Tensor,
        input: Tensor,
        zero_point: Tensor | None = None,
        axis: Value | Constant | np.generic | int | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def einsum(
        self,
        *,
        values: Sequence[Tensor],
        equation: Value | Constant | np.generic | str,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def elu(
        self,
        *,
        x: Tensor,
        alpha: Value | Constant | np.generic | float,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def equal(
        self,
        *,
        x: Tensor,
        y: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def erf(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def exp(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def exp2(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def expand_dims(
        self,
        *,
        x: Tensor,
        axes: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any],
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def fill(
        self,
        *,
        shape: Tensor,
        value: Tensor | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def fill_like(
        self,
        *,
        ref_tensor: Tensor,
        value: Tensor | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def flatten2d(
        self,
        *,
        x: Tensor,
        axis: Value | Constant | np.generic | int | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def floor(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def floor_div(
        self,
        *,
        x: Tensor,
        y: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def gather(
        self,
        *,
        x: Tensor,
        indices: Tensor,
        validate_indices: Value | Constant | np.generic | bool | None = None,
        axis: Value | Constant | np.generic | int | None = None,
        batch_dims: Value | Constant | np.generic | int | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def gather_along_axis(
        self,
        *,
        x: Tensor,
        indices: Tensor,
        validate_indices: Value | Constant | np.generic | bool | None = None,
        axis: Value | Constant | np.generic | int | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def gather_nd(
        self,
        *,
        x: Tensor,
        indices: Tensor,
        validate_indices: Value | Constant | np.generic | bool | None = None,
        batch_dims: Value | Constant | np.generic | int | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def gelu(
        self,
        *,
        x: Tensor,
        mode: Value | Constant | np.generic | str | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def greater(
        self,
        *,
        x: Tensor,
        y: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def greater_equal(
        self,
        *,
        x: Tensor,
        y: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def gru(
        self,
        *,
        x: Tensor,
        initial_h: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias: Tensor | None = None,
        output_sequence: Value | Constant | np.generic | bool | None = None,
        direction: Value | Constant | np.generic | str | None = None,
        recurrent_activation: Value | Constant | np.generic | str | None = None,
        activation: Value | Constant | np.generic | str | None = None,
        reset_after: Value | Constant | np.generic | bool | None = None,
        input_bias: Tensor | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def identity(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def instance_norm(
        self,
        *,
        x: Tensor,
        gamma: Tensor | None = None,
        beta: Tensor | None = None,
        epsilon: Value | Constant | np.generic | float | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def inverse(
        self,
        *,
        x: Tensor,
        epsilon: Value | Constant | np.generic | float | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def l2_norm(
        self,
        *,
        x: Tensor,
        epsilon: Value | Constant | np.generic | float | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def l2_pool(
        self,
        *,
        x: Tensor,
        kernel_sizes: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any],
        pad_type: Value | Constant | np.generic | str,
        strides: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        pad: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        ceil_mode: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def layer_norm(
        self,
        *,
        x: Tensor,
        axes: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        gamma: Tensor | None = None,
        beta: Tensor | None = None,
        epsilon: Value | Constant | np.generic | float | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def leaky_relu(
        self,
        *,
        x: Tensor,
        alpha: Value | Constant | np.generic | float,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def less(
        self,
        *,
        x: Tensor,
        y: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def less_equal(
        self,
        *,
        x: Tensor,
        y: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def linear(
        self,
        *,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def linear_activation(
        self,
        *,
        x: Tensor,
        alpha: Value | Constant | np.generic | float,
        beta: Value | Constant | np.generic | float,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def list_gather(
        self,
        *,
        ls: Tensor,
        indices: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def list_length(
        self,
        *,
        ls: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def list_read(
        self,
        *,
        ls: Tensor,
        index: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def list_scatter(
        self,
        *,
        ls: Tensor,
        indices: Tensor,
        value: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def list_write(
        self,
        *,
        ls: Tensor,
        index: Tensor,
        value: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def local_response_norm(
        self,
        *,
        x: Tensor,
        size: Value | Constant | np.generic | int,
        alpha: Value | Constant | np.generic | float | None = None,
        beta: Value | Constant | np.generic | float | None = None,
        k: Value | Constant | np.generic | float | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def log(
        self,
        *,
        x: Tensor,
        epsilon: Value | Constant | np.generic | float | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def logical_and(
        self,
        *,
        x: Tensor,
        y: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def logical_not(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def logical_or(
        self,
        *,
        x: Tensor,
        y: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def logical_xor(
        self,
        *,
        x: Tensor,
        y: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def lstm(
        self,
        *,
        x: Tensor,
        initial_h: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        initial_c: Tensor,
        bias: Tensor | None = None,
        output_sequence: Value | Constant | np.generic | bool | None = None,
        peephole: Tensor | None = None,
        weight_ih_back: Tensor | None = None,
        weight_hh_back: Tensor | None = None,
        bias_back: Tensor | None = None,
        peephole_back: Tensor | None = None,
        direction: Value | Constant | np.generic | str | None = None,
        recurrent_activation: Value | Constant | np.generic | str | None = None,
        cell_activation: Value | Constant | np.generic | str | None = None,
        activation: Value | Constant | np.generic | str | None = None,
        clip: Value | Constant | np.generic | float | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def make_list(
        self,
        *,
        init_length: Tensor | None = None,
        dynamic_length: Value | Constant | np.generic | bool | None = None,
        elem_shape: Sequence[Tensor] | None = None,
        dtype: Value | Constant | np.generic | str | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def matmul(
        self,
        *,
        x: Tensor,
        y: Tensor,
        transpose_x: Value | Constant | np.generic | bool | None = None,
        transpose_y: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def max_pool(
        self,
        *,
        x: Tensor,
        kernel_sizes: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any],
        pad_type: Value | Constant | np.generic | str,
        strides: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        pad: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        ceil_mode: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def maximum(
        self,
        *,
        x: Tensor,
        y: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def minimum(
        self,
        *,
        x: Tensor,
        y: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def mod(
        self,
        *,
        x: Tensor,
        y: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def mul(
        self,
        *,
        x: Tensor,
        y: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def non_maximum_suppression(
        self,
        *,
        boxes: Tensor,
        scores: Tensor,
        iou_threshold: Value | Constant | np.generic | float,
        score_threshold: Value | Constant | np.generic | float,
        max_boxes: Value | Constant | np.generic | int,
        per_class_suppression: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def non_zero(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def not_equal(
        self,
        *,
        x: Tensor,
        y: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def one_hot(
        self,
        *,
        indices: Tensor,
        one_hot_vector_size: Tensor,
        axis: Value | Constant | np.generic | int | None = None,
        on_value: Tensor | None = None,
        off_value: Tensor | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def pad(
        self,
        *,
        x: Tensor,
        pad: Tensor,
        mode: Value | Constant | np.generic | str | None = None,
        constant_val: Value | Constant | np.generic | float | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def pixel_shuffle(
        self,
        *,
        x: Tensor,
        upscale_factor: Value | Constant | np.generic | int,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def pixel_unshuffle(
        self,
        *,
        x: Tensor,
        downscale_factor: Value | Constant | np.generic | int,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def pow(
        self,
        *,
        x: Tensor,
        y: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def prelu(
        self,
        *,
        x: Tensor,
        alpha: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def quantize(
        self,
        *,
        scale: Tensor,
        input: Tensor,
        output_dtype: Value | Constant | np.generic | str,
        zero_point: Tensor | None = None,
        axis: Value | Constant | np.generic | int | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def random_bernoulli(
        self,
        *,
        shape: Tensor,
        seed: Value | Constant | np.generic | int | None = None,
        prob: Value | Constant | np.generic | float | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def random_categorical(
        self,
        *,
        x: Tensor,
        mode: Value | Constant | np.generic | str | None = None,
        size: Value | Constant | np.generic | int | None = None,
        seed: Value | Constant | np.generic | int | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def random_normal(
        self,
        *,
        shape: Tensor,
        seed: Value | Constant | np.generic | int | None = None,
        mean: Value | Constant | np.generic | float | None = None,
        stddev: Value | Constant | np.generic | float | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def random_uniform(
        self,
        *,
        shape: Tensor,
        seed: Value | Constant | np.generic | int | None = None,
        low: Value | Constant | np.generic | float | None = None,
        high: Value | Constant | np.generic | float | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def range_1d(
        self,
        *,
        end: Tensor,
        start: Tensor,
        step: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def read_state(
        self,
        *,
        input: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def real_div(
        self,
        *,
        x: Tensor,
        y: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def reduce_argmax(
        self,
        *,
        x: Tensor,
        axis: Value | Constant | np.generic | int | None = None,
        keep_dims: Value | Constant | np.generic | bool | None = None,
        output_dtype: Value | Constant | np.generic | str | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def reduce_argmin(
        self,
        *,
        x: Tensor,
        axis: Value | Constant | np.generic | int | None = None,
        keep_dims: Value | Constant | np.generic | bool | None = None,
        output_dtype: Value | Constant | np.generic | str | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def reduce_l1_norm(
        self,
        *,
        x: Tensor,
        axes: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        keep_dims: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def reduce_l2_norm(
        self,
        *,
        x: Tensor,
        axes: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        keep_dims: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def reduce_log_sum(
        self,
        *,
        x: Tensor,
        axes: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        keep_dims: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def reduce_log_sum_exp(
        self,
        *,
        x: Tensor,
        axes: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        keep_dims: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def reduce_max(
        self,
        *,
        x: Tensor,
        axes: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        keep_dims: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def reduce_mean(
        self,
        *,
        x: Tensor,
        axes: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        keep_dims: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def reduce_min(
        self,
        *,
        x: Tensor,
        axes: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        keep_dims: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def reduce_prod(
        self,
        *,
        x: Tensor,
        axes: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        keep_dims: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def reduce_sum(
        self,
        *,
        x: Tensor,
        axes: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        keep_dims: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def reduce_sum_square(
        self,
        *,
        x: Tensor,
        axes: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        keep_dims: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def relu(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def relu6(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def resample(
        self,
        *,
        x: Tensor,
        coordinates: Tensor,
        sampling_mode: Value | Constant | np.generic | str,
        padding_mode: Value | Constant | np.generic | str,
        padding_value: Value | Constant | np.generic | float,
        coordinates_mode: Value | Constant | np.generic | str,
        align_corners: Value | Constant | np.generic | bool,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def reshape(
        self,
        *,
        x: Tensor,
        shape: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def reshape_like(
        self,
        *,
        x: Tensor,
        ref_tensors: Sequence[Tensor],
        begins: Sequence[Tensor],
        ends: Sequence[Tensor],
        end_masks: Sequence[Tensor],
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def resize(
        self,
        *,
        x: Tensor,
        shape: Tensor,
        resized_dims: Value | Constant | np.generic | int,
        interpolation_mode: Value | Constant | np.generic | str | None = None,
        sampling_mode: Value | Constant | np.generic | str | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def resize_bilinear(
        self,
        *,
        x: Tensor,
        target_size_height: Value | Constant | np.generic | int | None = None,
        target_size_width: Value | Constant | np.generic | int | None = None,
        sampling_mode: Value | Constant | np.generic | str | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def resize_nearest_neighbor(
        self,
        *,
        x: Tensor,
        target_size_height: Value | Constant | np.generic | int,
        target_size_width: Value | Constant | np.generic | int,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def reverse(
        self,
        *,
        x: Tensor,
        axes: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def reverse_sequence(
        self,
        *,
        x: Tensor,
        lengths: Tensor,
        seq_axis: Value | Constant | np.generic | int | None = None,
        batch_axis: Value | Constant | np.generic | int | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def rnn(
        self,
        *,
        x: Tensor,
        initial_h: Tensor,
        weight_ih: Tensor,
        weight_hh: Tensor,
        bias: Tensor | None = None,
        output_sequence: Value | Constant | np.generic | bool | None = None,
        direction: Value | Constant | np.generic | str | None = None,
        activation: Value | Constant | np.generic | str | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def round(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def rsqrt(
        self,
        *,
        x: Tensor,
        epsilon: Value | Constant | np.generic | float | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def scaled_dot_product_attention(
        self,
        *,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def scaled_tanh(
        self,
        *,
        x: Tensor,
        alpha: Value | Constant | np.generic | float,
        beta: Value | Constant | np.generic | float,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def scatter(
        self,
        *,
        data: Tensor,
        indices: Tensor,
        updates: Tensor,
        validate_indices: Value | Constant | np.generic | bool | None = None,
        mode: Value | Constant | np.generic | str | None = None,
        axis: Value | Constant | np.generic | int | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def scatter_along_axis(
        self,
        *,
        data: Tensor,
        indices: Tensor,
        updates: Tensor,
        validate_indices: Value | Constant | np.generic | bool | None = None,
        mode: Value | Constant | np.generic | str | None = None,
        axis: Value | Constant | np.generic | int | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def scatter_nd(
        self,
        *,
        data: Tensor,
        indices: Tensor,
        updates: Tensor,
        validate_indices: Value | Constant | np.generic | bool | None = None,
        mode: Value | Constant | np.generic | str | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def select(
        self,
        *,
        cond: Tensor,
        a: Tensor,
        b: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def shape(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def sigmoid(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def sigmoid_hard(
        self,
        *,
        x: Tensor,
        alpha: Value | Constant | np.generic | float,
        beta: Value | Constant | np.generic | float,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def sign(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def silu(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def sin(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def sinh(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def slice_by_index(
        self,
        *,
        x: Tensor,
        begin: Tensor,
        end: Tensor,
        stride: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        begin_mask: Value | Constant | np.generic | Sequence[bool] | np.ndarray[Any, Any] | None = None,
        end_mask: Value | Constant | np.generic | Sequence[bool] | np.ndarray[Any, Any] | None = None,
        squeeze_mask: Value | Constant | np.generic | Sequence[bool] | np.ndarray[Any, Any] | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def slice_by_size(
        self,
        *,
        x: Tensor,
        begin: Tensor,
        size: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def slice_update(
        self,
        *,
        x: Tensor,
        begin: Tensor,
        end: Tensor,
        update: Tensor,
        stride: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        begin_mask: Value | Constant | np.generic | Sequence[bool] | np.ndarray[Any, Any] | None = None,
        end_mask: Value | Constant | np.generic | Sequence[bool] | np.ndarray[Any, Any] | None = None,
        squeeze_mask: Value | Constant | np.generic | Sequence[bool] | np.ndarray[Any, Any] | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def sliding_windows(
        self,
        *,
        x: Tensor,
        axis: Value | Constant | np.generic | int,
        size: Value | Constant | np.generic | int,
        stride: Value | Constant | np.generic | int | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def softmax(
        self,
        *,
        x: Tensor,
        axis: Value | Constant | np.generic | int | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def softplus(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def softplus_parametric(
        self,
        *,
        x: Tensor,
        alpha: Tensor,
        beta: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def softsign(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def space_to_batch(
        self,
        *,
        x: Tensor,
        block_shape: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any],
        paddings: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def space_to_depth(
        self,
        *,
        x: Tensor,
        block_size: Value | Constant | np.generic | int,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def split(
        self,
        *,
        x: Tensor,
        axis: Value | Constant | np.generic | int,
        num_splits: Value | Constant | np.generic | int | None = None,
        split_sizes: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def sqrt(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def square(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def squeeze(
        self,
        *,
        x: Tensor,
        axes: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any] | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def stack(
        self,
        *,
        values: Sequence[Tensor],
        axis: Value | Constant | np.generic | int,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def sub(
        self,
        *,
        x: Tensor,
        y: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def tan(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def tanh(
        self,
        *,
        x: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def threshold(
        self,
        *,
        x: Tensor,
        alpha: Value | Constant | np.generic | float,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def thresholded_relu(
        self,
        *,
        x: Tensor,
        alpha: Value | Constant | np.generic | float,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def tile(
        self,
        *,
        x: Tensor,
        reps: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def topk(
        self,
        *,
        x: Tensor,
        k: Value | Constant | np.generic | int | None = None,
        axis: Value | Constant | np.generic | int | None = None,
        ascending: Value | Constant | np.generic | bool | None = None,
        sort: Value | Constant | np.generic | bool | None = None,
        return_indices: Value | Constant | np.generic | bool | None = None,
        output_indices_dtype: Value | Constant | np.generic | str | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def transpose(
        self,
        *,
        x: Tensor,
        perm: Value | Constant | np.generic | Sequence[int] | np.ndarray[Any, Any],
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def upsample_bilinear(
        self,
        *,
        x: Tensor,
        scale_factor_height: Value | Constant | np.generic | float | None = None,
        scale_factor_width: Value | Constant | np.generic | float | None = None,
        align_corners: Value | Constant | np.generic | bool | None = None,
        half_pixel_centers: Value | Constant | np.generic | bool | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def upsample_nearest_neighbor(
        self,
        *,
        x: Tensor,
        scale_factor_height: Value | Constant | np.generic | float | None = None,
        scale_factor_width: Value | Constant | np.generic | float | None = None,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def while_loop(
        self,
        *,
        loop_vars: Sequence[Tensor],
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
    def write_state(
        self,
        *,
        input: Tensor,
        data: Tensor,
        name: str | None = None,
        blocks: Sequence[Block] = (),
    ) -> Any: ...
