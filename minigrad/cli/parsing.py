"""Command lines read strictly, complaints in one line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import NoReturn

__all__ = ["Parser", "positive_number", "whole_number"]


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that takes no abbreviations and complains in one line, with exit code 2."""

    def __init__(self, **settings: object) -> None:
        """As `argparse.ArgumentParser`."""
        super().__init__(allow_abbrev=False, **settings)  # type: ignore[arg-type]  # passed on as they come

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where to read more, and leave."""
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help shows what there is)\n")


def whole_number(least: int) -> Callable[[str], int]:
    """A reader of whole numbers from `least` on."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least} on")
        return value

    return read


def positive_number(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value
