"""What can go wrong, by name."""

__all__ = [
    "AnomalyError",
    "FileFormatError",
    "FreedGraphError",
    "GradientError",
    "MinigradError",
    "SettingError",
    "ShapeError",
    "StateDictError",
]


class MinigradError(Exception):
    """Everything that minigrad raises of its own."""


class SettingError(MinigradError, ValueError):
    """An environment variable that can't be followed: the message names it, its value and what would fit."""


class ShapeError(MinigradError, ValueError):
    """Shapes that don't fit: the message names the operation, the argument, every shape and what would fit."""


class GradientError(MinigradError, RuntimeError):
    """A gradient was asked for that can't be had, or a derivative broke its promise."""


class FreedGraphError(GradientError):
    """A backward pass over a graph whose saved arrays an earlier backward pass has let go."""


class AnomalyError(MinigradError, ArithmeticError):
    """Anomaly mode saw the first NaN or Inf: the message names the operation and the line that called it."""


class FileFormatError(MinigradError, ValueError):
    """A file that is not what it should be: the message names the file, what is wrong and what was expected."""


class StateDictError(MinigradError, ValueError):
    """A saved state of a module or an optimiser that is another's: the message lists everything that does not fit."""
