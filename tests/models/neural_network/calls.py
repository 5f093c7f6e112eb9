"""Calls of the builder: every ``add_*`` method, and the choices within it that make other messages."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

RNG = np.random.default_rng(11)


def numbers(*shape: int) -> np.ndarray:
    """Random float64, so that rounding to the format's float32 shows."""
    return RNG.standard_normal(shape)


def codes(count: int) -> bytes:
    """Random bytes."""
    return RNG.integers(0, 256, count, np.uint8).tobytes()


class Call(NamedTuple):
    """A call.

    Attributes:
        method: What is called.
        arguments: Its arguments beside the layer's name and, where it has them, the names of its tensors.
        inputs: How many tensors it reads; ``None`` where the method takes no names for them.
        outputs: How many it makes.
        exact: Whether the network's arrays keep their shapes.
    """

    method: str
    arguments: dict[str, Any]
    inputs: int | None
    outputs: int
    exact: bool


NAMES = ("x", "y", "z", "u", "v", "w")


def call(method: str, inputs: int | None = 1, outputs: int = 1, exact: bool = True, **arguments: Any) -> Call:
    """A call with its defaults."""
    return Call(method, arguments, inputs, outputs, exact)


PLAIN = (
    *("erf", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "exp2"),
    *("ceil", "floor", "round", "sign", "softmax", "get_shape", "where_nonzero", "clip", "clamped_relu", "gelu"),
    *("l2_normalize", "mvn", "reorganize_data", "fill_like", "random_normal_like", "random_uniform_like"),
    *("random_bernoulli_like", "matrix_band_part", "lower_triangular", "upper_triangular", "flatten_to_2d", "argsort"),
    *("squeeze", "reverse", "resize_bilinear", "padding", "tile", "fill_dynamic"),
)
SEVERAL = (
    *("add", "multiply", "divide", "subtract", "max", "min", "floor_div", "mod", "pow", "where"),
    *("gather_nd", "reshape_like", "reshape_dynamic", "broadcast_to_like", "broadcast_to_dynamic", "stack", "gather"),
    *("gather_along_axis", "scatter", "scatter_along_axis", "scatter_nd", "one_hot", "crop_resize", "cumsum"),
    *("reverse_sequence", "range_dynamic", "random_normal_dynamic", "random_uniform_dynamic"),
    *("random_bernoulli_dynamic", "greater_than", "less_than", "equal", "not_equal", "slice_dynamic"),
)
BROADCAST = SEVERAL[:10]
REDUCTIONS = ("sum", "prod", "mean", "max", "min", "l2", "l1", "sumsquare", "logsum", "logsumexp")

GATES = {
    "W_h": [numbers(2, 2) for _ in range(4)],
    "W_x": [numbers(2, 3) for _ in range(4)],
    "b": [numbers(2) for _ in range(4)],
}
BACK = {f"{name}_back": [2 * array for array in arrays] for name, arrays in GATES.items()}
GRU = {name: arrays[:3] for name, arrays in GATES.items()}
PEEP = {"peep": [numbers(2) for _ in range(3)]}
SIZES = {"hidden_size": 2, "input_size": 3}
CONV = {
    "kernel_channels": 2,
    "output_channels": 4,
    "height": 3,
    "width": 5,
    "stride_height": 1,
    "stride_width": 2,
    "border_mode": "valid",
    "groups": 1,
    "W": numbers(3, 5, 2, 4),
    "b": None,
    "has_bias": False,
}
CONV_3D = {
    "input_channels": 2,
    "output_channels": 3,
    "depth": 2,
    "height": 3,
    "width": 4,
    "b": numbers(3),
    "has_bias": True,
    "W": numbers(3, 2, 2, 3, 4),
}
POOL = {"height": 2, "width": 3, "stride_height": 1, "stride_width": 2}
KERNEL_3D = {
    "kernel_depth": 1,
    "kernel_height": 2,
    "kernel_width": 3,
    "stride_depth": 3,
    "stride_height": 2,
    "stride_width": 1,
}
INNER = {"input_channels": 3, "output_channels": 2, "b": None, "has_bias": False}
LINEAR_8 = {"is_quantized_weight": True, "quant_scale": numbers(2), "quant_bias": numbers(2)}
TABLE_4 = {"is_quantized_weight": True, "quantization_type": "lut", "nbits": 4, "quant_lut": numbers(16)}
INT_8 = {"is_quantized_weight": True, "int_8_dynamic_quantize": True, "quant_scale": np.array([0.5])}
SLICE = {
    "begin_ids": [0, 1],
    "end_ids": [2, -1],
    "strides": [1, 2],
    "begin_masks": [False, True],
    "end_masks": [True, False],
}

CALLS = [
    *(call(f"add_{name}") for name in PLAIN),
    *(call(f"add_{name}_broadcastable" if name in BROADCAST else f"add_{name}", 2) for name in SEVERAL),
    *(call(f"add_reduce_{mode}", axes=[1, -1], keepdims=False) for mode in REDUCTIONS),
    *(call(f"add_reduce_{mode}") for mode in REDUCTIONS),
    call("add_reduce_sum", axes=np.array([0]), reduce_all=True),
    # activations
    *(call("add_activation", non_linearity=kind) for kind in ("RELU", "sigmoid", "Tanh", "SOFTPLUS", "SOFTSIGN")),
    *(call("add_activation", non_linearity=kind) for kind in ("SCALED_TANH", "SIGMOID_HARD", "LINEAR", "LEAKYRELU")),
    *(call("add_activation", non_linearity=kind, params=[0.7, -2.0]) for kind in ("SCALED_TANH", "SIGMOID_HARD")),
    call("add_activation", non_linearity="LINEAR", params=[0.7, -2.0]),
    call("add_activation", non_linearity="LEAKYRELU", params=[0.1]),
    call("add_activation", non_linearity="THRESHOLDEDRELU"),
    call("add_activation", non_linearity="THRESHOLDEDRELU", params=0.4),
    call("add_activation", non_linearity="ELU", params=0.4),
    call("add_activation", non_linearity="PRELU", params=numbers(4)),
    call("add_activation", non_linearity="PARAMETRICSOFTPLUS", params=[numbers(4), numbers(4)]),
    call("add_activation", non_linearity="RELU", input_shape=[2, 3], output_rank=2),
    call("add_gelu", mode="TANH_APPROXIMATION"),
    call("add_gelu", mode="SIGMOID_APPROXIMATION"),
    call("add_softmax_nd", axis=-1),
    call("add_clamped_relu", alpha=0.1, beta=2),
    # element by element
    *(
        call("add_elementwise", 2, mode=mode)
        for mode in ("CONCAT", "SEQUENCE_CONCAT", "ADD", "multiply", "DOT", "COS", "MAX", "MIN", "AVE")
    ),
    *(call("add_elementwise", mode=mode, alpha=2.5) for mode in ("ADD", "MULTIPLY")),
    *(call("add_unary", mode=mode) for mode in ("sqrt", "rsqrt", "inverse", "exp", "log", "abs")),
    call("add_unary", mode="power", alpha=3.0, shift=0.5, scale=2.0, epsilon=1e-3),
    call("add_unary", mode="threshold", alpha=0.5),
    call("add_clip", min_value=-1, max_value=2),
    call("add_greater_than", alpha=0.5),
    call("add_greater_than", 2, use_greater_than_equal=True),
    call("add_greater_than", use_greater_than_equal=True, alpha=1.5),
    call("add_less_than", alpha=0.5),
    call("add_less_than", 2, use_less_than_equal=True),
    call("add_less_than", use_less_than_equal=True, alpha=1.5),
    call("add_equal", alpha=0.5),
    call("add_not_equal", alpha=0.5),
    *(call("add_logical", 1 if mode == "NOT" else 2, mode=mode) for mode in ("AND", "OR", "XOR", "NOT")),
    # convolution and pooling
    call("add_convolution", **CONV),
    call("add_convolution", **CONV | {"b": numbers(4), "has_bias": True, "padding_top": 1, "padding_right": 2}),
    call("add_convolution", **CONV | {"border_mode": "SAME", "dilation_factors": [2, 3]}),
    call("add_convolution", **CONV, same_padding_asymmetry_mode="TOP_LEFT_HEAVY"),
    call("add_convolution", **CONV | {"border_mode": "same", "same_padding_asymmetry_mode": "top_left_heavy"}),
    call("add_convolution", **CONV | {"is_deconv": True, "W": numbers(3, 5, 2, 4), "output_shape": [5, 9]}),
    call("add_convolution", **CONV | {"is_deconv": True, "groups": 2, "W": numbers(3, 5, 2, 2)}),
    call(
        "add_convolution",
        **CONV | {"W": codes(120), "quantization_type": "linear", "quant_scale": numbers(4), "quant_bias": numbers(4)},
    ),
    call("add_convolution", **CONV | {"W": codes(45), "quantization_type": "lut", "nbits": 3, "quant_lut": numbers(8)}),
    call("add_convolution3d", **CONV_3D),
    call(
        "add_convolution3d",
        **CONV_3D | {"padding_mode": "custom", "padding_front": 1, "padding_left": 2, "stride_depth": 2},
    ),
    call("add_convolution3d", **CONV_3D | {"is_deconv": True, "output_shape": [4, 5, 6], "dilation_width": 2}),
    call("add_pooling", **POOL, layer_type="MAX", padding_type="VALID"),
    call("add_pooling", **POOL, layer_type="average", padding_type="SAME", exclude_pad_area=False),
    call("add_pooling", **POOL, layer_type="L2", padding_type="INCLUDE_LAST_PIXEL", padding_top=1, padding_bottom=1),
    call("add_pooling", **POOL, layer_type="MAX", padding_type="VALID", is_global=True, padding_left=1),
    call("add_pooling3d", **KERNEL_3D, pooling_type="max"),
    call("add_pooling3d", **KERNEL_3D, pooling_type="average", padding_mode="custom", custom_padding_top=1),
    call("add_pooling3d", **KERNEL_3D, pooling_type="average", average_pooling_count_excludes_padding=True),
    call("add_global_pooling3d", pooling_type="average"),
    # matrices
    call("add_inner_product", W=numbers(2, 3), **INNER),
    call("add_inner_product", W=numbers(2, 3), **INNER | {"b": numbers(2), "has_bias": True}),
    call("add_inner_product", W=codes(6), **INNER, **LINEAR_8),
    call("add_inner_product", W=codes(3), **INNER, **TABLE_4),
    call("add_inner_product", W=codes(6), **INNER, **INT_8),
    call("add_embedding", W=numbers(2, 3), input_dim=3, output_channels=2, b=numbers(2), has_bias=True),
    call("add_embedding", W=codes(6), input_dim=3, output_channels=2, b=None, has_bias=False, **LINEAR_8),
    call("add_embedding_nd", W=numbers(2, 3), vocab_size=3, embedding_size=2),
    call("add_embedding_nd", W=codes(3), b=numbers(2), vocab_size=3, embedding_size=2, **TABLE_4),
    call("add_batched_mat_mul", 2, transpose_a=True),
    call("add_batched_mat_mul", W=numbers(3, 2), weight_matrix_rows=3, weight_matrix_columns=2, transpose_b=True),
    call("add_batched_mat_mul", W=numbers(3, 2), weight_matrix_rows=3, weight_matrix_columns=2, bias=numbers(2)),
    call("add_batched_mat_mul", W=codes(6), weight_matrix_rows=3, weight_matrix_columns=2, **LINEAR_8),
    call("add_batched_mat_mul", W=codes(3), weight_matrix_rows=3, weight_matrix_columns=2, **TABLE_4),
    call("add_batched_mat_mul", W=codes(6), weight_matrix_rows=3, weight_matrix_columns=2, **INT_8),
    # recurrent
    call("add_simple_rnn", 2, 2, W_h=numbers(2, 2), W_x=numbers(2, 3), b=numbers(2), activation="RELU", **SIZES),
    call(
        *("add_simple_rnn", 2, 2),
        **{"W_h": numbers(2, 2), "W_x": numbers(2, 3), "b": None, "activation": b"linear", **SIZES},
        output_all=True,
        reverse_input=True,
    ),
    call("add_gru", 2, 2, **GRU, **SIZES),
    call("add_gru", 2, 2, **GRU | {"b": None}, **SIZES, activation="SCALED_TANH", output_all=True, reverse_input=True),
    call("add_unilstm", 3, 3, **GATES, **SIZES, **PEEP, output_all=True, cell_clip_threshold=4.0),
    call("add_unilstm", 3, 3, **GATES | {"b": None}, **SIZES, forget_bias=True, coupled_input_forget_gate=True),
    call("add_bidirlstm", 5, 5, **GATES, **BACK, **SIZES, **PEEP, peep_back=PEEP["peep"], inner_activation="relu"),
    call("add_bidirlstm", 5, 5, **GATES | {"b": None}, **BACK | {"b_back": None}, **SIZES, output_all=True),
    # normalisation
    call("add_batchnorm", channels=3, gamma=numbers(3), beta=numbers(3), mean=numbers(3), variance=numbers(3)),
    call(
        "add_batchnorm",
        channels=3,
        gamma=numbers(3),
        beta=numbers(3),
        compute_mean_var=True,
        instance_normalization=True,
        epsilon=1e-3,
    ),
    call("add_layer_normalization", normalized_shape=[2, 3], gamma=numbers(2, 3), beta=numbers(2, 3), eps=1e-3),
    call("add_mvn", across_channels=False, normalize_variance=False, epsilon=1e-3),
    call("add_lrn", alpha=0.1, beta=0.75, local_size=5, k=2.0),
    call("add_scale", W=2, b=None, has_bias=False),
    call("add_scale", W=numbers(3), b=5, has_bias=True, shape_scale=[3]),
    call("add_scale", W=numbers(3), b=numbers(3, 1, 1), has_bias=True, shape_scale=[3], shape_bias=[3, 1, 1]),
    call("add_bias", b=7),
    call("add_bias", b=numbers(3, 2, 1), shape_bias=[3, 2, 1]),
    # shapes
    call("add_flatten", mode=0),
    call("add_flatten", mode=1),
    call("add_reshape", target_shape=(1, 2, 3), mode=0),
    call("add_reshape", target_shape=(1, 2, 3, -1), mode=1),
    call("add_permute", dim=(0, 3, 1, 2)),
    call("add_split", 1, 3),
    call("add_slice", axis="channel", start_index=1, end_index=3, stride=2),
    call("add_slice", axis="height"),
    call("add_slice", axis="width"),
    call("add_slice_by_size", 2, axis=1, size=3),
    call("add_sequence_repeat", nrep=3),
    call("add_reorganize_data", mode="DEPTH_TO_SPACE", block_size=3),
    call("add_reorganize_data", mode="PIXEL_SHUFFLE"),
    call("add_transpose", axes=[2, -3, 1]),
    call("add_concat_nd", 2, axis=1),
    call("add_concat_nd", 2, axis=-1, interleave=True),
    call("add_stack", 2, axis=1),
    call("add_split_nd", 1, 2, axis=1),
    call("add_split_nd", 1, 3, axis=-1, split_sizes=[1, 2, 3]),
    call("add_slice_static", **SLICE),
    call("add_slice_static", **SLICE, squeeze_masks=[True, False]),
    call("add_slice_static", **SLICE, squeeze_masks=[False, False]),
    call("add_slice_dynamic", 2, **{name: value for name, value in SLICE.items() if name != "begin_ids"}),
    call("add_slice_dynamic", 3, squeeze_masks=[True, False]),
    call("add_sliding_windows", axis=1, window_size=3, step=2),
    call("add_tile", reps=[1, 3]),
    call("add_tile", 2),
    call("add_expand_dims", axes=[0, -1]),
    call("add_squeeze", axes=[0, -1]),
    call("add_squeeze", squeeze_all=True),
    call("add_flatten_to_2d", axis=-1),
    call("add_reshape_static", output_shape=[2, -1]),
    call("add_rank_preserving_reshape", output_shape=[0, 3, -1]),
    call("add_broadcast_to_static", output_shape=[2, 3]),
    # images
    call("add_upsample", scaling_factor_h=2, scaling_factor_w=3),
    call("add_upsample", scaling_factor_h=2, scaling_factor_w=3, mode="BILINEAR"),
    call(
        "add_upsample",
        scaling_factor_h=2.5,
        scaling_factor_w=3,
        mode="BILINEAR",
        linear_upsample_mode="ALIGN_CORNERS_FALSE",
    ),
    *(
        call("add_resize_bilinear", target_height=3, target_width=4, mode=mode)
        for mode in ("STRICT_ALIGN_ENDPOINTS_MODE", "upsample_mode", "ROI_ALIGN_MODE")
    ),
    *(
        call("add_crop_resize", 2, target_height=3, target_width=4, box_indices_mode=mode, normalized_roi=True)
        for mode in ("CORNERS_WIDTH_FIRST", "CENTER_SIZE_HEIGHT_FIRST", "CENTER_SIZE_WIDTH_FIRST")
    ),
    call("add_crop_resize", 2, mode="ROI_ALIGN_MODE", spatial_scale=0.5),
    call("add_padding", left=1, right=2, top=3, bottom=4, value=0.5),
    call("add_padding", left=1, padding_type="reflection"),
    call("add_padding", left=1, padding_type="Replication"),
    call("add_constant_pad", pad_amounts=[1, 2, 3, 4], value=-1.0),
    call("add_constant_pad", 2, pad_to_given_output_size_mode=True),
    call("add_crop", left=1, right=2, top=3, bottom=4, offset=[5, 6]),
    call("add_crop", 2, left=0, right=0, top=0, bottom=0, offset=[5, 6]),
    # places
    *(
        call(method, 3, mode=mode)
        for method in ("add_scatter", "add_scatter_along_axis", "add_scatter_nd")
        for mode in ("update", "ADD", "SUB", "MUL", "DIV", "MAX", "MIN")
    ),
    call("add_gather", 2, axis=-1),
    call("add_one_hot", one_hot_vector_size=4, axis=0, on_value=2.0, off_value=-1.0),
    call("add_reverse", reverse_dim=[True, False]),
    call("add_reverse_sequence", 2, batch_axis=1, seq_axis=0),
    call("add_matrix_band_part", num_lower=1, num_upper=2),
    call("add_lower_triangular", k=-1),
    call("add_upper_triangular", k=1),
    call("add_nms", 2, 4, iou_threshold=0.3, score_threshold=0.1, max_boxes=5, per_class_suppression=True),
    call("add_topk", 1, 2, k=3, axis=-1),
    call("add_topk", 2, 2, use_bottom_k=True),
    call("add_argmax", axis=1),
    call("add_argmax", axis=-1, keepdims=False),
    call("add_argmin", axis=1),
    call("add_argmin", axis=-1, keepdims=False),
    call("add_argsort", axis=1, descending=True),
    call("add_cumsum", axis=0, reverse=True, exclusive=True),
    *(
        call("add_reduce", axis=axis, mode=mode)
        for axis, mode in zip(
            ("CHW", "HW", "C", "H", "W") * 2,
            ("sum", "avg", "prod", "logsum", "sumsquare", "L1", "l2", "max", "min", "argmax"),
            strict=True,
        )
    ),
    # creation
    call("add_load_constant", None, constant_value=numbers(1, 2, 3), shape=[1, 2, 3], exact=False),
    call("add_load_constant", None, constant_value=numbers(6), shape=[2, 3]),
    call("add_load_constant_nd", None, constant_value=numbers(2, 3), shape=[2, 3]),
    call("add_range_static", None, end=5, start=-1, step=0.5),
    call("add_range_dynamic", 3, start=1, step=2),
    *(call(f"add_fill_{kind}", value=2.5) for kind in ("like", "dynamic")),
    call("add_fill_static", None, output_shape=(2, 3), value=2.5),
    call("add_random_normal_static", None, output_shape=(2, 3), mean=1.0, stddev=2.0, seed=3),
    call("add_random_uniform_static", None, output_shape=(2, 3), minval=1.0, maxval=2.0, seed=3),
    call("add_random_bernoulli_static", None, output_shape=(2, 3), prob=0.25, seed=3),
    call("add_random_normal_like", mean=1.0, stddev=2.0, seed=3),
    call("add_random_uniform_dynamic", minval=1.0, maxval=2.0, seed=3),
    call("add_random_bernoulli_like", prob=0.25, seed=3),
    call("add_categorical_distribution", num_samples=3),
    call("add_categorical_distribution", num_samples=3, is_logits=False, eps=1e-3, temperature=2.0, seed=3),
    # control flow
    call("add_branch", 1, 0),
    call("add_loop", None, 0, max_iterations=3, condition="x"),
    call("add_loop", 1, 0),
    call("add_loop_break", None, 0),
    call("add_loop_continue", None, 0),
    call("add_copy"),
    call("add_custom", 2, 2),
]
"""In networks whose arrays keep their shapes, unless a call says otherwise; the messages are the same in others."""
