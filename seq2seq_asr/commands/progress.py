"""Progress bars on stderr for long work that is not training."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class ProgressLine:
    """Bars that appear when work reports itself: ``progress("decoding", 3, 10)``."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.bars = Progress(*columns, console=Console(stderr=True), transient=True)
        self.tasks: dict[str, TaskID] = {}

    def __call__(self, name: str, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` parts of ``name`` are finished, on a terminal."""
        if not self.bars.console.is_terminal:
            return
        if not self.tasks:
            self.bars.start()
        if name not in self.tasks:
            self.tasks[name] = self.bars.add_task(name, total=total)
        self.bars.update(self.tasks[name], completed=done, total=total)

    def stop(self) -> None:
        """Take the bars off the screen."""
        if self.tasks:
            self.bars.stop()
        self.tasks.clear()

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
