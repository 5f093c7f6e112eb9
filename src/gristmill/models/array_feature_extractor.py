"""Building array feature extractors, under coremltools' name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gristmill.errors import InputError, InputTypeError
from gristmill.models import datatypes
from gristmill.models.classic import interface
from gristmill.package.proto import Message


def create_array_feature_extractor(
    input_features: Any, output_name: str, extract_indices: int | Sequence[int], output_type: Any = None
) -> Message:
    """Makes a model that takes elements out of an array.

    Args:
        input_features: One pair of name and ``datatypes.Array``.
        output_name: The output's name.
        extract_indices: The element's place, or several ones.
        output_type: The output's type: for one place a ``Double``, for several an ``Array`` when left out.

    Returns:
        The ``Model`` message.

    Raises:
        InputError: The input is no array, or has no such element.
    """
    features = interface.as_features(input_features)
    if len(features) != 1 or not isinstance(features[0][1], datatypes.Array):
        raise InputError("the input is one array", actual=features)
    single = isinstance(extract_indices, int | np.integer)
    indices: list[Any] = [extract_indices] if isinstance(extract_indices, int | np.integer) else list(extract_indices)
    if not all(isinstance(index, int | np.integer) for index in indices):
        raise InputTypeError("places in an array are integers", actual=extract_indices)
    size = features[0][1].num_elements or 0
    if not indices or min(indices) < 0 or max(indices) >= size:
        raise InputError("the array has no such element", expected=f"0 … {size - 1}", actual=indices)
    spec = interface.new_model()
    spec.arrayFeatureExtractor.extractIndex.extend(int(index) for index in indices)
    kind = output_type or (datatypes.Double() if single else datatypes.Array(len(indices)))
    interface.describe(spec, features, [(output_name, kind)])
    return spec
