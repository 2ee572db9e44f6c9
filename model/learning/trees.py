"""Boosted regression trees as plain arrays: fitted by xgboost, evaluated by a kernel of our own.

Notation: n rows, d features, T trees, m nodes of all trees together. Nothing heavy is imported until trees are needed.
Source of the method: Chen, Guestrin, "XGBoost", KDD 2016.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from model.loops import is_loaded
from model.prediction import Floats

Ints32 = npt.NDArray[np.int32]
Floats32 = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
ROUNDS = 40
_FEW = 64
_SETTINGS: dict[str, Any] = {
    # heavy tails: a few published rows are off by a factor of ten
    "objective": "reg:absoluteerror",
    "tree_method": "hist",
    "max_depth": 5,
    "eta": 0.2,
    "min_child_weight": 10.0,
    "colsample_bytree": 0.4,
    "subsample": 0.7,
    "lambda": 3.0,
    "max_bin": 64,
    "base_score": 0.0,
    "nthread": 1,
    "seed": 0,
    "verbosity": 0,
}


@dataclass(frozen=True)
class Trees:
    """A sum of T trees plus `base`. `roots` is `T`; node arrays are `m`, and `left` indexes into them.

    A row goes to `left` where its feature is below the threshold, else to the node after it. A leaf has `left` -1 and
    its value in `threshold`.
    """

    base: float
    roots: Ints32
    feature: Ints32
    threshold: Floats32
    left: Ints32

    def predict(self, features: Floats) -> Floats:
        """The sum for every row of `features`, `n x d` -> `n`."""
        rows = np.ascontiguousarray(features, np.float32)
        if len(rows) <= _FEW and not is_loaded():
            return self._of_few(rows)
        from model.learning.tree_kernel import add_up

        return self.base + np.asarray(add_up(rows, self.roots, self.feature, self.threshold, self.left))

    def _of_few(self, rows: Floats32) -> Floats:
        """All trees of all rows a node down at a time, without a compiler to load; leaves are summed in its order."""
        depth, feature, left, threshold = self._down
        values, row = rows.ravel(), np.arange(len(rows))[:, None] * rows.shape[1]
        node = np.tile(self.roots.astype(np.intp), (len(rows), 1))
        for _ in range(depth):
            found = values.take(row + feature.take(node))
            node = left.take(node) + (found >= threshold.take(node))
        return self.base + np.asarray(self.threshold.take(node).cumsum(axis=1, dtype=np.float64)[:, -1])

    @cached_property
    def _down(self) -> tuple[int, Indices, Indices, Floats32]:
        """How many nodes lie below a root at most, and `feature`, `left` and `threshold` as if a leaf were its own
        child: nothing is at or above its threshold."""
        is_leaf = self.left < 0
        depth, level = 0, self.roots
        while len(level := self.left[level[~is_leaf[level]]]):
            depth, level = depth + 1, np.concatenate([level, level + 1])
        left = np.where(is_leaf, np.arange(len(self.left)), self.left)
        return depth, self.feature.astype(np.intp), left, np.where(is_leaf, np.float32(np.nan), self.threshold)


def joined(members: Sequence[Trees]) -> Trees:
    """The sum of several."""
    sizes = [len(trees.left) for trees in members]
    shift = np.cumsum([0, *sizes[:-1]]).astype(np.int32)
    left = [np.where(t.left < 0, -1, t.left + by).astype(np.int32) for t, by in zip(members, shift, strict=True)]
    return Trees(
        base=sum(trees.base for trees in members),
        roots=np.concatenate([trees.roots + by for trees, by in zip(members, shift, strict=True)]),
        feature=np.concatenate([trees.feature for trees in members]),
        threshold=np.concatenate([trees.threshold for trees in members]),
        left=np.concatenate(left),
    )


def fit_trees(features: Floats, target: Floats, weight: Floats) -> Trees:
    """Fit trees to `target`, `n`, from `features`, `n x d`, with row weights `n`. Deterministic."""
    xgboost = _xgboost()
    base = float(np.average(target, weights=weight))
    rows = xgboost.DMatrix(features, target - base, weight=weight / weight.mean(), nthread=1)
    booster = xgboost.train(_SETTINGS, rows, num_boost_round=ROUNDS)
    return _from_json(json.loads(booster.save_raw(raw_format="json")), base)


def _xgboost() -> Any:
    """The library, without its scikit-learn estimators: nothing here uses them, and they are most of its import time
    (1.0 of 1.3 s). A module that stands as None in `sys.modules` counts as not installed."""
    is_hidden = "xgboost" not in sys.modules and "sklearn" not in sys.modules
    nothing: Any = None
    if is_hidden:
        sys.modules["sklearn"] = nothing
    try:
        return importlib.import_module("xgboost")
    finally:
        if is_hidden:
            del sys.modules["sklearn"]


def _from_json(document: Any, base: float) -> Trees:
    trees = document["learner"]["gradient_booster"]["model"]["trees"]
    sizes = [len(tree["left_children"]) for tree in trees]
    roots = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    joined = {
        name: np.concatenate([np.asarray(tree[name]) for tree in trees])
        for name in ("left_children", "right_children", "split_indices", "split_conditions")
    }
    shift = np.repeat(roots, sizes)
    left, right = joined["left_children"], joined["right_children"]
    is_leaf = left < 0
    if (right[~is_leaf] != left[~is_leaf] + 1).any():
        raise ValueError("this version of xgboost does not store the children of a node side by side")
    return Trees(
        base=base,
        roots=roots.astype(np.int32),
        feature=joined["split_indices"].astype(np.int32),
        # a threshold is a value of the data in 32 bits: at 64 bits its decimal form would fall beside it
        threshold=joined["split_conditions"].astype(np.float32),
        left=np.where(is_leaf, -1, left + shift).astype(np.int32),
    )
