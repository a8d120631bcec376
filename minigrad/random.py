"""The random numbers of minigrad: one generator (PCG64) for the process, seeded by `manual_seed`."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["generator", "get_rng_state", "manual_seed", "set_rng_state"]

_generator = np.random.default_rng()


def generator() -> np.random.Generator:
    """The generator from which initialisation, dropout and shuffling draw."""
    return _generator


def manual_seed(seed: int) -> np.random.Generator:
    """Start the generator anew; the same seed gives the same numbers."""
    _generator.bit_generator.state = np.random.default_rng(seed).bit_generator.state
    return _generator


def get_rng_state() -> dict[str, Any]:
    """Where the generator stands, as a dictionary that JSON can hold."""
    return dict(_generator.bit_generator.state)


def set_rng_state(state: dict[str, Any]) -> None:
    """Put the generator back to where `get_rng_state` found it."""
    _generator.bit_generator.state = state
