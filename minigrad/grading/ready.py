"""Ready checks of what CNN courses set, with the names and arguments of CS231n's assignments.

In a spec, ``ready = "conv"`` stands for function names, arguments and reference; every one of them can be given otherwise.
Arrays are small, and no two axes are equally long, so that a transposed gradient does not fit by accident.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minigrad.grading.references import (
    affine,
    batchnorm,
    conv,
    dropout_plausible,
    layernorm,
    lstm_step,
    max_pool,
    relu,
    rnn_step,
    softmax,
    spatial_batchnorm,
    svm,
)
from minigrad.grading.spec import Draw

__all__ = ["READY", "ready_for"]


def _pair(stem: str, arguments: dict[str, Any], reference: Callable[..., Any] | None, suffix: str = "") -> dict[str, Any]:
    names = {"function": f"{stem}_forward{suffix}", "backward": f"{stem}_backward{suffix}"}
    return names | {"kind": "pair", "arguments": arguments, "reference": reference}


def _loss(name: str, reference: Callable[..., Any]) -> dict[str, Any]:
    arguments = {"x": Draw((7, 5)), "y": Draw((7,), "integers", 0, 5)}
    return {"function": name, "kind": "loss", "arguments": arguments, "reference": reference}


# Stride 2 under windows of 3: they overlap, and a mistake that shows only for stride > 1 or only at the border shows.
_CONV = {
    "x": Draw((2, 3, 5, 7)),
    "w": Draw((4, 3, 3, 3)),
    "b": Draw((4,)),
    "conv_param": {"stride": 2, "pad": 1},
}
# Windows that overlap, so that = where += is needed shows. Fast ones may ask for tiles, as the course's own do.
_POOL = {"x": Draw((2, 3, 6, 7), "distinct"), "pool_param": {"pool_height": 4, "pool_width": 3, "stride": 2}}
_TILES = {"x": Draw((2, 3, 4, 6), "distinct"), "pool_param": {"pool_height": 2, "pool_width": 2, "stride": 2}}
_GATES = {"x": Draw((3, 5)), "prev_h": Draw((3, 4))}

READY: dict[str, dict[str, Any]] = {
    "affine": _pair("affine", {"x": Draw((4, 2, 3)), "w": Draw((6, 5)), "b": Draw((5,))}, affine),
    "relu": _pair("relu", {"x": Draw((4, 7), "distinct")}, relu),
    "conv": _pair("conv", _CONV, conv, "_naive"),
    "conv_fast": _pair("conv", _CONV, conv, "_fast"),
    "max_pool": _pair("max_pool", _POOL, max_pool, "_naive"),
    "max_pool_fast": _pair("max_pool", _TILES, max_pool, "_fast"),
    "batchnorm": _pair(
        "batchnorm",
        {"x": Draw((6, 5)), "gamma": Draw((5,)), "beta": Draw((5,)), "bn_param": {"mode": "train", "eps": 1e-5}},
        batchnorm,
    ),
    "spatial_batchnorm": _pair(
        "spatial_batchnorm",
        {"x": Draw((3, 4, 2, 5)), "gamma": Draw((4,)), "beta": Draw((4,)), "bn_param": {"mode": "train", "eps": 1e-5}},
        spatial_batchnorm,
    ),
    "layernorm": _pair(
        "layernorm",
        {"x": Draw((4, 7)), "gamma": Draw((7,)), "beta": Draw((7,)), "ln_param": {"eps": 1e-5}},
        layernorm,
    ),
    "dropout": _pair(
        "dropout",
        {"x": Draw((10, 12), "distinct"), "dropout_param": {"mode": "train", "p": 0.5, "seed": 3}},
        None,
    )
    | {"verify": dropout_plausible},
    "softmax": _loss("softmax_loss", softmax),
    "svm": _loss("svm_loss", svm),
    "rnn_step": _pair("rnn_step", _GATES | {"Wx": Draw((5, 4)), "Wh": Draw((4, 4)), "b": Draw((4,))}, rnn_step),
    "lstm_step": _pair(
        "lstm_step",
        _GATES | {"prev_c": Draw((3, 4)), "Wx": Draw((5, 16)), "Wh": Draw((4, 16)), "b": Draw((16,))},
        lstm_step,
    ),
}


def ready_for(function: str, parameters: list[str]) -> dict[str, Any] | None:
    """The ready check whose function has this name and takes arguments of these names, or None."""
    for entry in READY.values():
        names = list(entry["arguments"])
        if entry["function"] == function and [n.lower() for n in names] == [p.lower() for p in parameters]:
            return entry
    return None
