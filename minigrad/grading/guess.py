"""Arguments for a function that nobody described further: shapes from its docstring, or from the names people use."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field, replace
from typing import Any

from minigrad.grading.spec import Draw

__all__ = ["Guess", "Unknown", "guess_arguments"]

#: Sizes for the letters of shapes; no two that meet in one operation are equal.
_SIZES = {"N": 4, "B": 4, "M": 5, "C": 3, "D": 6, "H": 5, "W": 7, "F": 4, "K": 3, "T": 3, "V": 8, "HH": 3, "WW": 3, "G": 1}
_OTHERS = (7, 8, 9, 2)
#: Windows of 3 at steps of 2: they overlap, and what is right only for a step of 1 or for tiles shows.
_SCALARS: dict[str, Any] = {
    "stride": 2, "pad": 1, "padding": 1, "dilation": 1, "groups": 1, "kernel_size": 3, "pool_height": 3, "pool_width": 3,
    "pool_size": 3, "eps": 1e-5, "epsilon": 1e-5, "momentum": 0.9, "p": 0.5, "keep_prob": 0.5, "mode": "train", "seed": 1,
    "training": True, "train": True, "is_training": True, "reg": 0.1, "lam": 0.1, "lambda_": 0.1, "alpha": 0.1, "slope": 0.1,
    "negative_slope": 0.1, "delta": 1.0, "margin": 1.0, "axis": 1, "G": 1,
    "in_features": 6, "in_dim": 6, "input_dim": 6, "input_size": 6, "n_in": 6, "num_inputs": 6, "num_features": 6, "dim": 6,
    "out_features": 5, "out_dim": 5, "output_dim": 5, "output_size": 5, "n_out": 5, "num_outputs": 5, "hidden_size": 5,
    "hidden_dim": 5, "in_channels": 3, "num_channels": 3, "channels": 3, "out_channels": 4, "num_filters": 4,
    "filter_size": 3, "num_classes": 5,
}  # fmt: skip
_DICTS = {
    "conv": ("stride", "pad"),
    "pool": ("pool_height", "pool_width", "stride"),
    "bn": ("mode", "eps"),
    "gn": ("eps",),
    "ln": ("eps",),
    "dropout": ("mode", "p", "seed"),
}
_FLAT = {"x": (4, 6), "w": (6, 5), "weight": (6, 5), "weights": (6, 5), "b": (5,), "bias": (5,), "gamma": (6,), "beta": (6,)}
_STEP = {"x": (4, 6), "prev_h": (4, 5), "wx": (6, 5), "wh": (5, 5), "b": (5,)}
_PLANES = {"x": (2, 3, 5, 7), "w": (4, 3, 3, 3), "weight": (4, 3, 3, 3), "b": (4,), "bias": (4,), "gamma": (3,), "beta": (3,)}
_LABELS = {"y", "labels", "label", "target", "targets", "y_true", "t"}
#: Losses that hold two arrays of one shape against each other.
_DISTANCES = r"mse|mae|rmse|huber|smooth_?l1|mean_squared|squared_error|mean_abs|absolute_error"
_PLAIN = {"inp", "inputs", "input", "z", "a", "u", "v", "h", "logits", "scores", "y_pred", "pred", "x1", "x2", "X"}


class Unknown(Exception):
    """Nothing can be guessed for this parameter."""


@dataclass
class Guess:
    """Arguments under their names, and whether any shape came from a name alone."""

    arguments: dict[str, Any] = field(default_factory=dict)
    by_name_only: bool = False


def guess_arguments(function: ast.FunctionDef, skip: int, about: str, loss: bool = False) -> Guess:
    """Arguments for the parameters without a default, past the first `skip`. Raises Unknown with a parameter's name."""
    given = [*function.args.posonlyargs, *function.args.args][skip:]
    needed = given[: len(given) - len(function.args.defaults)] if function.args.defaults else given
    names = [argument.arg for argument in needed]
    documented = _entries(ast.get_docstring(function) or "", names)
    if set(names) == {"a", "b"} and not documented:  # two operands, of a sum or of a matrix product: a square fits both
        return Guess({name: Draw((5, 5)) for name in names}, by_name_only=True)
    sizes = _Sizes(about, ast.get_docstring(function) or "")
    guess = Guess()
    for argument in needed:
        text = documented.get(argument.arg, "")
        guess.arguments[argument.arg] = _value(argument, text, sizes, guess, about, loss, len(needed))
    return guess


class _Sizes:
    """The size of each letter, the same wherever it stands."""

    def __init__(self, about: str, doc: str) -> None:
        self.known = dict(_SIZES)
        self.others = list(_OTHERS)
        if "d_1" in doc:
            self.known["D"] = 6  # the product of d_1, ..., d_k, which become 2 and 3
        if re.search(r"rnn|lstm|gru|step", about.lower()):
            self.known["H"] = 5

    def shape(self, text: str) -> tuple[int, ...] | None:
        """The shape that stands in brackets, or None where these are other words."""
        text = re.sub(r"d_1\s*,\s*\.\.\.\s*,?\s*d_[kK]", "2, 3", text)
        parts = [part.strip() for part in text.split(",") if part.strip()]
        sizes = [self._size(part) for part in parts]
        return tuple(s for s in sizes if s is not None) if parts and None not in sizes else None

    def _size(self, part: str) -> int | None:
        found = re.fullmatch(r"(\d*)\s*\*?\s*([A-Za-z]\w{0,11})?", part)
        if (
            not found
            or not (found[1] or found[2])
            or (found[2] and not re.match(r"[A-Z]|[nbchwdfkm]\w?$|\w*_\w+$|batch", found[2]))
        ):
            return None
        return int(found[1] or 1) * (self.letter(found[2]) if found[2] else 1)

    def letter(self, name: str) -> int:
        """The size that this letter stands for."""
        if name not in self.known:
            upper = name.upper()
            self.known[name] = self.known[upper] if upper in self.known else (self.others.pop(0) if self.others else 6)
        return self.known[name]


def _entries(doc: str, names: list[str]) -> dict[str, str]:
    """What a docstring says about each parameter: from the line that begins with its name to the next one's."""
    found: dict[str, str] = {}
    current: list[str] = []
    called = "|".join(map(re.escape, names)) or "-"
    for line in re.sub(rf"[,;]\s*(?=`?(?:{called})`?\s*:)", "\n", doc).splitlines():
        if re.match(r"\s*(returns?|yields?|outputs?)\b", line, re.IGNORECASE):
            current = []
            continue
        start = re.match(r"\s*[-*]?\s*(`?\w+`?(?:\s*,\s*`?\w+`?)*)\s*(?=[:(]|\s-\s)", line)
        heads = [word.strip("` ") for word in start[1].split(",")] if start else []
        if heads and all(head in names for head in heads):
            current = heads
        for name in current:
            found[name] = found.get(name, "") + line[start.end() if start and current == heads else 0 :] + "\n"
    return found


def _value(argument: ast.arg, text: str, sizes: _Sizes, guess: Guess, about: str, loss: bool, count: int) -> Any:
    name, low = argument.arg, argument.arg.lower()
    settings = _dictionary(low, text)
    if settings is not None:
        return settings
    if name in _SCALARS:
        return _SCALARS[name]
    annotation = ast.unparse(argument.annotation) if argument.annotation is not None else ""
    if annotation in ("int", "float", "bool"):
        return {"int": 2, "float": 0.5, "bool": True}[annotation]
    shape = next((s for inner in re.findall(r"\(([^()]*)\)", text) if (s := sizes.shape(inner)) is not None), None)
    documented = shape is not None
    if shape is None:
        guess.by_name_only = True
        shape = _by_name(low, about, count)
    if re.search(r"\bboolean\b", text, re.IGNORECASE):
        return Draw(shape, "integers", 0, 2)
    if loss and not documented and low in _LABELS and guess.arguments and re.search(_DISTANCES, about.lower()):
        first = next(iter(guess.arguments.values()))
        return replace(first, values="normal") if isinstance(first, Draw) else Draw(shape)
    if (low in _LABELS and loss) or re.search(r"\b(labels?|index|indices|integers?)\b", text, re.IGNORECASE):
        labelled = re.search(r"<=?\s*([A-Z])\b", text)
        shape = shape[:1] if loss and not documented else shape
        return Draw(shape, "integers", 0, sizes.letter(labelled[1]) if labelled else _classes(guess))
    sharp = re.search(r"relu|pool|max|abs|hinge|dropout", about.lower())
    return Draw(shape, "distinct" if sharp and len(guess.arguments) == 0 else "normal")


def _classes(guess: Guess) -> int:
    """As many classes as the first argument has columns."""
    first = next((value for value in guess.arguments.values() if isinstance(value, Draw)), None)
    return first.shape[-1] if first is not None and len(first.shape) > 1 else 2


def _dictionary(name: str, text: str) -> dict[str, Any] | None:
    if not (re.search(r"_?(params?|config|cfg|opts?|options)$", name) or re.search(r"\bdict", text)):
        return None
    keys = re.findall(r"['\"`](\w+)['\"`]", text)
    stem = next((_DICTS[stem] for stem in _DICTS if name.startswith(stem)), ())
    return {key: _SCALARS[key] for key in dict.fromkeys([*stem, *keys]) if key in _SCALARS}


def _by_name(name: str, about: str, count: int) -> tuple[int, ...]:
    """A shape for a parameter that nothing is said about."""
    if re.search(r"conv|pool|spatial|2d", about.lower()):
        table: dict[str, tuple[int, ...]] = _PLANES
    else:
        table = _STEP if re.search(r"rnn|step", about.lower()) else _FLAT
    if name in table:
        return table[name]
    if count == 1 or name in _PLAIN or name in _LABELS:
        return table["x"]
    raise Unknown(name)
