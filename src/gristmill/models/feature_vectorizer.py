"""Building feature vectorisers, under coremltools' name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gristmill.errors import InputError
from gristmill.models import datatypes
from gristmill.models.classic import interface
from gristmill.package.proto import Message


def create_feature_vectorizer(
    input_features: Any, output_feature_name: Any, known_size_map: Mapping[str, int] | None = None
) -> tuple[Message, int]:
    """Makes a model that puts features one after the other into one array.

    Args:
        input_features: Pairs of name and ``datatypes``: numbers, arrays, and dictionaries with integer keys.
        output_feature_name: The array's name, or a list of one pair of name and type.
        known_size_map: Sizes of dictionaries, by name.

    Returns:
        The ``Model`` message, and the array's size.

    Raises:
        InputError: A size is missing, or another than the feature's own.
    """
    spec = interface.new_model()
    sizes = dict(known_size_map or {})
    features = interface.as_features(input_features)
    total = 0
    for name, kind in features:
        size = sizes.get(name, kind.num_elements)
        if size is None:
            raise InputError(f"the size of '{name}' is not known", hint="state it in known_size_map")
        if kind.num_elements not in (None, size):
            raise InputError(f"'{name}' has another size", expected=kind.num_elements, actual=size)
        spec.featureVectorizer.inputList.add(inputColumn=name, inputDimensions=size)
        total += size
    array = datatypes.Array(total)
    if isinstance(output_feature_name, str):
        outputs = [(output_feature_name, array)]
    else:
        outputs = interface.as_features(output_feature_name)
        if [kind for _, kind in outputs] != [array]:
            raise InputError("the output has another type", expected=array, actual=outputs)
    interface.describe(spec, features, outputs)
    return spec, total
