"""Which algorithm calculates a convolution or a derivative of one: a table, read from top to bottom.

The first row that can do the task and pays is taken; an algorithm that was asked for is taken wherever it can do the task.
The numbers in it were measured at LeNet's, AlexNet's and ResNet-18's shapes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

from minigrad.kernels.frames import Geometry, Pair
from minigrad.kernels.winograd_matrices import LARGEST
from minigrad.kernels.winograd_tiles import points_of, products

__all__ = ["ALGORITHMS", "Task", "choose", "limits"]


class Task(NamedTuple):
    """What is to be calculated; channels and filters are those of one group."""

    kind: str  # 'forward', or the derivative by 'input' or by 'weight'
    batch: int
    channels: int
    filters: int
    window: Pair
    image: Pair
    size: Pair  # of the output
    geometry: Geometry
    itemsize: int
    lanes: int  # float32 in a vector of this machine

    @property
    def outputs(self) -> int:
        """The planes of the result that need the same numbers."""
        return self.channels if self.kind == "input" else self.filters

    @property
    def taps(self) -> int:
        """The products of which each number of the result is a sum (by weight: the numbers that each filter has)."""
        return (self.filters if self.kind == "input" else self.channels) * math.prod(self.window)

    @property
    def row(self) -> int:
        """Pixels in a row of what is calculated."""
        return self.image[1] if self.kind == "input" else self.size[1]


class _Row(NamedTuple):
    """A way to calculate, and of which algorithm: which tasks it can do, in words too, and for which it is the fastest."""

    name: str
    algorithm: str
    can: Callable[[Task], bool]
    pays: Callable[[Task], bool]
    limits: str = ""


def _plain(task: Task) -> bool:
    return task.geometry.stride == (1, 1)


#: 'images' keeps all numbers of as many images as there are lanes at hand; more than these would not stay in the cache.
_MOST_IN_LANES = 1 << 19
#: Cycles for bringing a vector into lanes, or out of them.
_TURNING = 5.5
#: 'pixels' keeps a whole vector for each element of the weight's gradient; more than these would not stay in the cache.
_MOST_DOTS = 20_000


def _by_images(task: Task) -> float:
    """Cycles for each number of the result, by weight for each of the cotangent: products, and turning both sides."""
    return _in_lanes(task, task.filters * math.prod(task.size) * task.channels * math.prod(task.window))


def _by_tiles(task: Task) -> float:
    """Likewise, in tiles: what is done for each point of a channel, and of a filter, takes as long as four products."""
    points = math.prod(points_of(n, taps) for n, taps in zip(task.size, task.window, strict=True))
    return _in_lanes(task, points * (task.channels * task.filters + 4 * (task.channels + task.filters)))


def _in_lanes(task: Task, vectors: int) -> float:
    """For so many multiply-adds of vectors. A block's images must stay in the cache, in lanes."""
    source, result = task.channels * math.prod(task.image), task.filters * math.prod(task.size)
    most = _MOST_IN_LANES * (2 if task.kind == "weight" else 1)  # which only reads
    if task.geometry.groups * (source + result) * task.lanes > most:
        return math.inf
    filled = task.batch / (-(-task.batch // task.lanes) * task.lanes)
    cycles = vectors + _TURNING * (source + result)
    return cycles / task.lanes / filled / (source if task.kind == "input" else result)


def _by_pixels(task: Task) -> float:
    """It calculates also what lies between two rows; for a single plane it must load a vector for each product."""
    if task.kind == "weight" and task.geometry.groups * task.filters * task.taps > _MOST_DOTS:
        return math.inf
    framed = task.row + task.geometry.dilation[1] * (task.window[1] - 1)
    loads = 2.0 if task.outputs == 1 and task.kind != "weight" else 1.0
    return task.taps / task.lanes * framed / task.row * loads + 1.0


def _by_filters(task: Task) -> float:
    """It fills its vectors with zeros where filters are few, and pays for turning results round, or the cotangent.

    By input, without a stride, it takes no product with a border.
    """
    used = next(n for n in (4, 8, 16) if n >= min(task.outputs, task.lanes))  # vectors get shorter where filters are few
    filled = task.outputs / (-(-task.outputs // used) * used)
    if task.kind == "input" and _plain(task):
        return 1.05 * task.taps * math.prod(task.size) / math.prod(task.image) / task.lanes / filled + 1.0
    return 1.1 * task.taps / task.lanes / filled + (2.0 if task.kind == "weight" else 4.0)


_WINDOWS = "stride 1 and dilation 1, windows up to 7, not 1x1"


def _winograd_can(task: Task) -> bool:
    return _plain(task) and task.geometry.dilation == (1, 1) and 2 <= max(task.window) < LARGEST


def _winograd_in_lanes_can(task: Task) -> bool:
    return _winograd_can(task) and task.kind == "forward"


def _winograd_pays(task: Task) -> bool:
    """Fewer products than the direct way by what the transforms cost; with many channels that is little.

    Of a few images with many channels the direct way spends its time on bringing the weights in order.
    """
    result = task.image if task.kind == "input" else task.size
    lanes = task.lanes * 4 // task.itemsize
    least = min(task.channels, task.filters)
    worth = 0.6 if least < 4 * lanes else 1.7
    direct = task.batch * math.prod(result) * math.prod(task.window)
    return least >= lanes and products(result, task.window, task.batch) < worth * direct


def _columns_pay(task: Task) -> bool:
    """Where the direct ways read few of the numbers that lie together: measured 1.2 to 5 times as fast, up to 60.

    A window of one pixel with a stride; by input, a stride with so many phases that each has few taps, or so few channels
    that vectors are filled with zeros.
    """
    phases = math.prod(task.geometry.stride)
    if task.window == (1, 1):
        return min(task.geometry.stride) > 1
    return task.kind == "input" and (phases >= 9 or (phases >= 4 and task.channels <= 4 and task.geometry.groups == 1))


def _direct(task: Task) -> float:
    return min(_by_images(task), _by_pixels(task), _by_filters(task))


_TABLE: tuple[_Row, ...] = (
    _Row("winograd-channels", "winograd", _winograd_can, _winograd_pays, _WINDOWS),
    _Row("im2col", "im2col", lambda task: True, _columns_pay),
    _Row("fft", "fft", lambda task: True, lambda task: False),  # for large windows, on request only: it rounds more
    _Row("winograd-images", "winograd", _winograd_in_lanes_can, lambda task: _by_tiles(task) < _direct(task), _WINDOWS),
    _Row("images", "direct", _plain, lambda task: _by_images(task) <= _direct(task), "stride 1"),
    _Row("pixels", "direct", _plain, lambda task: _by_pixels(task) <= _direct(task), "stride 1"),
    _Row("filters", "direct", lambda task: True, lambda task: True),
)

#: What may be asked for: an algorithm, or one way of it.
ALGORITHMS = tuple(dict.fromkeys(["direct", *(row.algorithm for row in _TABLE), *(row.name for row in _TABLE)]))


@functools.lru_cache(maxsize=4096)
def choose(task: Task, asked: str | None = None) -> str:
    """The first way that can do the task and pays; of what was asked for, and can do it, one is taken even if none pays.

    What was asked for and can't do a derivative gives way to the direct ones.
    """
    able = [row for row in _TABLE if row.can(task)]
    wanted = [row for row in able if asked in (row.name, row.algorithm)]
    wanted = wanted or [row for row in able if asked is None or row.algorithm == "direct"]
    return next((row for row in wanted if row.pays(task)), wanted[0]).name


def limits(algorithm: str, task: Task) -> str:
    """In words, what the algorithm is limited to, if it can't do the task; else nothing."""
    rows = [row for row in _TABLE if algorithm in (row.name, row.algorithm)]
    return "" if any(row.can(task) for row in rows) else next((row.limits for row in rows), "")
