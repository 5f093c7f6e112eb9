"""Model types that are no networks, a family in each file, and pipelines of all models."""

from __future__ import annotations

from collections.abc import Mapping

from gristmill.errors import UnsupportedError
from gristmill.models.classic.base import ClassicModel
from gristmill.models.classic.detection import ClassConfidenceThresholding, NonMaximumSuppression
from gristmill.models.classic.linear import GLMClassifier, GLMRegressor
from gristmill.models.classic.neighbors import KNearestNeighborsClassifier
from gristmill.models.classic.pipeline import CustomModel, LinkedModel, Opener, Pipeline, register_custom_model
from gristmill.models.classic.probit import BayesianProbitRegressor
from gristmill.models.classic.recommender import ItemSimilarityRecommender
from gristmill.models.classic.support_vectors import SupportVectorClassifier, SupportVectorRegressor
from gristmill.models.classic.transforms import (
    CategoricalMapping,
    Identity,
    Imputer,
    Normalizer,
    OneHotEncoder,
    Scaler,
)
from gristmill.models.classic.trees import TreeEnsembleClassifier, TreeEnsembleRegressor
from gristmill.models.classic.vectors import ArrayFeatureExtractor, DictVectorizer, FeatureVectorizer
from gristmill.package import Package

__all__ = ["ALONE", "CLOSED", "MADE_OF_MODELS", "ClassicModel", "open_classic", "register_custom_model"]

ALONE: Mapping[str, type[ClassicModel]] = {
    "arrayFeatureExtractor": ArrayFeatureExtractor,
    "bayesianProbitRegressor": BayesianProbitRegressor,
    "categoricalMapping": CategoricalMapping,
    "classConfidenceThresholding": ClassConfidenceThresholding,
    "customModel": CustomModel,
    "dictVectorizer": DictVectorizer,
    "featureVectorizer": FeatureVectorizer,
    "glmClassifier": GLMClassifier,
    "glmRegressor": GLMRegressor,
    "identity": Identity,
    "imputer": Imputer,
    "itemSimilarityRecommender": ItemSimilarityRecommender,
    "kNearestNeighborsClassifier": KNearestNeighborsClassifier,
    "nonMaximumSuppression": NonMaximumSuppression,
    "normalizer": Normalizer,
    "oneHotEncoder": OneHotEncoder,
    "scaler": Scaler,
    "supportVectorClassifier": SupportVectorClassifier,
    "supportVectorRegressor": SupportVectorRegressor,
    "treeEnsembleClassifier": TreeEnsembleClassifier,
    "treeEnsembleRegressor": TreeEnsembleRegressor,
}
"""Models that need nothing but their own parameters, by the field's name in ``Model``."""

MADE_OF_MODELS: Mapping[str, type[Pipeline] | type[LinkedModel]] = {
    "linkedModel": LinkedModel,
    "pipeline": Pipeline,
    "pipelineClassifier": Pipeline,
    "pipelineRegressor": Pipeline,
}

_LANGUAGE = "its parameters are a private format of Apple's Natural Language framework"
_BUILT_IN = "its weights are part of Apple's operating systems and not in the file"

CLOSED: Mapping[str, str] = {
    "audioFeaturePrint": _BUILT_IN,
    "gazetteer": _LANGUAGE,
    "serializedModel": "its content is of a type that Core ML does not document",
    "soundAnalysisPreprocessing": "how it makes features of sound is not documented",
    "textClassifier": _LANGUAGE,
    "visionFeaturePrint": _BUILT_IN,
    "wordEmbedding": _LANGUAGE,
    "wordTagger": _LANGUAGE,
}
"""Models that nobody but Apple can run, with the reasons. They are read, described and saved as they are."""


def open_classic(package: Package, open_model: Opener) -> ClassicModel | None:
    """What computes a model that is no network; nothing for networks.

    Args:
        package: The model.
        open_model: Makes what runs a model inside another.

    Raises:
        FormatError: The model's parameters do not fit together.
        UnsupportedError: It cannot run here.
    """
    kind = package.kind
    if kind in CLOSED:
        raise UnsupportedError(
            f"a model of type '{kind}' runs on Apple's systems only: {CLOSED[kind]}",
            location=package.path,
            hint="it can be inspected, saved unchanged, and be part of a pipeline that is saved",
        )
    if kind in ALONE:
        return ALONE[kind](package.spec)
    return MADE_OF_MODELS[kind](package.spec, package, open_model) if kind in MADE_OF_MODELS else None
