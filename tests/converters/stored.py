"""Models that other libraries wrote, with what they predict: for tests that run without the library.

``python -m tests.converters.stored LIBRARY …`` writes them anew, with the library installed. Each is ``data/NAME.json``
or ``.txt`` as the library exported it, and ``data/NAME.npy``: its own predictions for ``boosting.NEW``. CatBoost also
writes Core ML's format: ``catboost_core_ml.mlmodel`` takes a category beside numbers (``with_words``).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from tests.converters.boosting import NEW, SCORE, TWO, X

FOLDER = Path(__file__).parent / "data"


def write_xgboost():
    import xgboost

    settings = {"objective": "binary:logistic", "max_depth": 3, "nthread": 1}
    booster = xgboost.train(settings, xgboost.DMatrix(X, TWO), 5)
    booster.save_model(FOLDER / "xgboost.json")
    np.save(FOLDER / "xgboost.npy", booster.predict(xgboost.DMatrix(NEW)))


def write_lightgbm():
    import lightgbm

    settings = {"objective": "binary", "num_leaves": 7, "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(X, TWO), 5)
    booster.save_model(FOLDER / "lightgbm.txt")
    np.save(FOLDER / "lightgbm.npy", booster.predict(NEW))


def write_catboost():
    from catboost import CatBoostClassifier, CatBoostRegressor

    options = {"iterations": 4, "depth": 3, "thread_count": 1, "verbose": 0, "allow_writing_files": False}
    two = CatBoostClassifier(nan_mode="Min", **options).fit(X, np.array(["no", "yes"])[TWO])
    save_catboost(two, FOLDER / "catboost_two.json")
    np.save(FOLDER / "catboost_two.npy", two.predict_proba(NEW)[:, 1])
    deep = CatBoostRegressor(nan_mode="Max", grow_policy="Depthwise", **options).fit(X, SCORE)
    save_catboost(deep, FOLDER / "catboost_deep.json")
    np.save(FOLDER / "catboost_deep.npy", deep.predict(NEW))


def with_words(x):
    """Rows as CatBoost takes them in Core ML's format: rounded to float32, nothing missing, and a word after them."""
    numbers = np.nan_to_num(x).astype(np.float32).astype(float)
    words = np.array(["ash", "birch", "cedar"])[(numbers.sum(axis=1) * 100).round().astype(int) % 3]
    return [[*row, word] for row, word in zip(numbers.tolist(), words.tolist(), strict=True)]


def write_catboost_core_ml():
    from catboost import CatBoostRegressor, Pool

    pool = Pool(with_words(X), SCORE + [len(row[-1]) for row in with_words(X)], cat_features=[5])
    options = {"iterations": 4, "depth": 3, "thread_count": 1, "verbose": 0, "allow_writing_files": False}
    model = CatBoostRegressor(one_hot_max_size=3, **options).fit(pool)
    model.save_model(str(FOLDER / "catboost_core_ml.mlmodel"), format="coreml", pool=pool)
    np.save(FOLDER / "catboost_core_ml.npy", model.predict(with_words(NEW)))


def save_catboost(model, path):
    """CatBoost's JSON without its white space, which is most of it."""
    model.save_model(str(path), format="json")
    path.write_text(json.dumps(json.loads(path.read_text()), separators=(",", ":")) + "\n")


if __name__ == "__main__":
    for library in sys.argv[1:]:
        globals()[f"write_{library}"]()
