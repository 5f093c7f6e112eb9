"""Writes the files in this folder: models that coremltools converts, and what scikit-learn predicts for them.

It needs a release of scikit-learn that coremltools 9.0 supports, such as 1.5.1:

    python -m tests.converters.sklearn_files.write
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
ROWS = 1000


def rows(count: int = ROWS, seed: int = 2) -> np.ndarray:
    """Random rows of four features."""
    return np.random.default_rng(seed).normal(size=(count, 4)) * [1, 10, 0.1, 1]


def rows_with_gaps() -> np.ndarray:
    """The same with missing values."""
    x = rows()
    return np.where(np.random.default_rng(3).random(x.shape) < 0.2, np.nan, x)


def positive_integers(count: int = ROWS, seed: int = 2) -> np.ndarray:
    """Categories from zero on: coremltools writes their places for the categories."""
    return np.random.default_rng(seed).integers(0, 4, (count, 2)).astype(np.float64)


def main() -> None:
    import coremltools
    from sklearn import ensemble, impute, linear_model, neighbors, preprocessing, svm, tree
    from sklearn.pipeline import make_pipeline

    x = rows(80, 1)
    number = x @ [1, 0.2, 8, -1] + np.random.default_rng(4).normal(size=80)
    label = np.digitize(number, np.quantile(number, [0.3, 0.7]))
    two = (label > 0).astype(int)
    gaps = np.where(np.random.default_rng(5).random(x.shape) < 0.2, np.nan, x)
    boosted = {"n_estimators": 5, "max_depth": 2, "random_state": 0}
    forest = {"n_estimators": 5, "max_depth": 3, "random_state": 0}
    fitted = {
        "tree_classifier": tree.DecisionTreeClassifier(max_depth=4, random_state=0).fit(x, label),
        "tree_regressor": tree.DecisionTreeRegressor(max_depth=4, random_state=0).fit(x, number),
        "forest_classifier": ensemble.RandomForestClassifier(**forest).fit(x, label),
        "forest_regressor": ensemble.RandomForestRegressor(**forest).fit(x, number),
        "boosted_classifier": ensemble.GradientBoostingClassifier(**boosted).fit(x, two),
        "boosted_regressor": ensemble.GradientBoostingRegressor(**boosted).fit(x, number),
        "linear_regression": linear_model.LinearRegression().fit(x, number),
        "ridge": linear_model.Ridge().fit(x, number),
        "logistic_regression": linear_model.LogisticRegression(multi_class="ovr").fit(x, label),
        "linear_svr": svm.LinearSVR(random_state=0, max_iter=100000).fit(x, number),
        "linear_svc": svm.LinearSVC(max_iter=100000).fit(x, label),
        "svr": svm.SVR().fit(x, number),
        "nu_svr": svm.NuSVR().fit(x, number),
        "svc": svm.SVC().fit(x, label),
        "nu_svc": svm.NuSVC(kernel="poly", degree=2).fit(x, label),
        "neighbors": neighbors.KNeighborsClassifier(3, algorithm="brute").fit(x.astype(np.float32), two),
        "scaler": preprocessing.StandardScaler().fit(x),
        "normalizer": preprocessing.Normalizer().fit(x),
        "imputer": impute.SimpleImputer().fit(gaps),
        "one_hot_encoder": preprocessing.OneHotEncoder().fit(positive_integers(80, 1)),
        "pipeline": make_pipeline(impute.SimpleImputer(), preprocessing.StandardScaler(), svm.SVC()).fit(gaps, label),
    }
    for name, estimator in fitted.items():
        given = inputs(name)
        features = [("input", coremltools.models.datatypes.Array(given.shape[1]))]
        coremltools.converters.sklearn.convert(estimator, features).save(str(HERE / f"{name}.mlmodel"))
        if hasattr(estimator, "predict"):
            predicted = estimator.predict(given)
            found = {"predicted": predicted if predicted.dtype.kind == "i" else predicted.astype(np.float32)}
            if hasattr(estimator, "predict_proba") and name != "neighbors":  # coremltools gives it none
                found["probabilities"] = estimator.predict_proba(given).astype(np.float32)
        else:
            made = estimator.transform(given[:250])
            found = {"transformed": np.asarray(made.toarray() if hasattr(made, "toarray") else made, np.float32)}
        np.savez_compressed(HERE / f"{name}.npz", **found)


def inputs(name: str) -> np.ndarray:
    """The rows that a model of this name is tried on."""
    if name in ("imputer", "pipeline"):
        return rows_with_gaps()
    return positive_integers() if name == "one_hot_encoder" else rows()


if __name__ == "__main__":
    main()
