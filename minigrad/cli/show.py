"""What a person sees of a training run: a bar while it goes, a table of right and wrong when it is done."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigrad.viz.columns import own_width, print_whole
from minigrad.zoo import runs
from minigrad.zoo.training import Progress, Training

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.table import Table

__all__ = ["Show"]

#: Batches over which the speed is averaged.
_RECENT = 100


class Show:
    """Tells of a run on standard output: a live bar on a terminal, else a line an epoch; nothing but the end if `quiet`."""

    def __init__(self, quiet: bool = False) -> None:
        """Nothing is printed yet."""
        from rich.console import Console  # late: the command line starts sooner without

        self.console = Console(highlight=False, soft_wrap=True)
        self.quiet = quiet
        self._compiling = False
        self._bar: Bar | None = None
        self._recent: deque[tuple[float, int]] = deque(maxlen=_RECENT)  # when a batch ended, how many images it had
        self._epochs = 0

    def note(self, text: str) -> None:
        """A remark that is not an error, on standard error."""
        if not self.quiet:
            print(f"note: {text}", file=sys.stderr)

    def compiling(self, _: str) -> None:
        """Say, once, what the wait is for."""
        if not self._compiling and not self.quiet:
            self.console.print("compiling kernels for this machine; the next run finds them ready")
        self._compiling = True

    def stopping(self) -> None:
        """The first Ctrl-C: what is still done, and how to stop without it. Said from a signal's handler."""
        first = not self._recent  # counted in `batch`, also if quiet
        what = "the first batch is finished, its kernels compiled for it," if first else "this batch is finished"
        with contextlib.suppress(RuntimeError):  # the signal came in the middle of another line on standard error
            print(f"stopping: {what} and the state saved; Ctrl-C again stops at once", file=sys.stderr)

    @contextlib.contextmanager
    def training(self, training: Training) -> Iterator[None]:
        """Show the run while the block goes."""
        settings = training.settings
        self._epochs = settings.epochs
        if self.quiet:
            yield
            return
        parameters = sum(parameter.numel() for parameter in training.model.parameters())
        self.console.print(
            f"{settings.model}: {parameters:,} parameters; {Path(settings.data).name}: {len(training.labels):,} images "
            f"to learn from, {len(training.test_labels):,} held out"
        )
        if not self.console.is_terminal:
            yield
            return
        self._bar = self._new_bar()
        done = training.epoch * training.batches + training.batch
        self._bar.add_task("", total=training.total_steps, completed=done, epoch=training.epoch, loss="", accuracy="", speed="")
        with self._bar:
            yield

    def _new_bar(self) -> Bar:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        bar, speed, left = BarColumn(bar_width=None), TextColumn("{task.fields[speed]} images/s"), TimeRemainingColumn()
        width = self.console.width  # in a narrow terminal something goes, before numbers are cut short
        loss, accuracy = TextColumn("loss {task.fields[loss]}"), TextColumn("accuracy {task.fields[accuracy]}")
        return Progress(
            TextColumn(f"epoch {{task.fields[epoch]:>{len(str(self._epochs))}}}/{self._epochs}"),
            *([bar] if width >= 60 else []),
            loss,
            accuracy,
            *([speed] if width >= 78 else []),
            *([left] if width >= 60 else []),
            console=self.console,
            refresh_per_second=4,
            expand=True,
        )

    def batch(self, progress: Progress) -> None:
        """One more batch has been learned."""
        self._recent.append((time.perf_counter(), progress.images))
        if self.quiet:
            return
        loss, accuracy, speed = f"{progress.loss:.4f}", f"{progress.accuracy:.2%}", f"{self._speed():,.0f}"
        if self._bar is not None:
            first = len(self._recent) == 1  # shown at once: kernels may have been compiled for many seconds before it
            task, done = self._bar.task_ids[0], progress.step
            self._bar.update(
                task, completed=done, refresh=first, epoch=progress.epoch, loss=loss, accuracy=accuracy, speed=speed
            )
        elif progress.record is not None:
            held_out = f"held out: loss {progress.record['test_loss']:.4f}, accuracy {progress.record['test_accuracy']:.2%}"
            print(
                f"epoch {progress.epoch}/{self._epochs}: loss {loss}, accuracy {accuracy}; {held_out}; {speed} images/s",
                flush=True,
            )

    def _speed(self) -> float:
        """Images a second over the last batches."""
        (first, images), (last, _) = self._recent[0], self._recent[-1]
        seen = sum(count for _, count in self._recent) - images
        return seen / (last - first) if last > first else 0.0

    def results(self, training: Training, folder: Path, seconds: float) -> None:
        """The confusion matrix, the accuracy, where the files are."""
        result = training.result
        assert result is not None, "results: the training has not finished an epoch"
        total, right = int(result.confusion.sum()), int(result.confusion.trace())
        summary = f"{result.accuracy:.2%} of {total:,} held-out images are right, {total - right:,} wrong; {seconds:.1f} s"
        if self.quiet:
            print(f"{summary}; {folder}")
            return
        table = _table(result.confusion)
        if self.console.is_terminal and own_width(table) > self.console.width:
            self.console.print(f"(the table of truth and answer needs {own_width(table)} columns; confusion.png shows it)")
        else:
            print_whole(self.console, table)
        self.console.print(f"[bold]{result.accuracy:.2%}[/] {summary.partition(' ')[2]}")
        there = [name for name in runs.FILES if (folder / name).exists()]
        self.console.print(f"in {folder}: {', '.join(there)}", markup=False)


def _table(confusion: Any) -> Table:
    """Truth down the side, answers along the top; what is right in bold, what never happened left empty."""
    from rich import box
    from rich.table import Table

    table = Table(title="rows: truth; columns: answer", box=box.SIMPLE, title_style="dim", padding=(0, 1))
    table.add_column("", justify="right", style="dim")
    for answer in range(len(confusion)):
        table.add_column(str(answer), justify="right", header_style="dim")
    for truth, row in enumerate(confusion.tolist()):
        cells = [f"[bold green]{n}[/]" if truth == answer else f"[red]{n}[/]" if n else "" for answer, n in enumerate(row)]
        table.add_row(str(truth), *cells)
    return table
