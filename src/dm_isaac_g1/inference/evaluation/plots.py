"""Open-loop trajectories as pictures: recorded and predicted, a small plot for every value of the action."""

from __future__ import annotations

import io
from pathlib import Path

from dm_isaac_g1.core.errors import DmG1Error
from dm_isaac_g1.inference.evaluation.openloop import Traces
from dm_isaac_g1.inference.evaluation.results import Trajectory, write_whole

#: Plots side by side; inches of one, and of the title; dots an inch.
COLUMNS, WIDE, HIGH, TITLE, DPI = 4, 4.0, 2.2, 0.8, 100
#: Endings that are understood; no other says what it would be.
FORMATS = ("png", "svg", "pdf")


def path_for(path: Path, episode: int, *, several: bool) -> Path:
    """open.png; of several trajectories open-000003.png."""
    return path.with_name(f"{path.stem}-{episode:06d}{path.suffix}") if several else path


def check(path: Path) -> None:
    """That a picture could be written there. Raises DmG1Error: matplotlib is missing, the ending, the folder."""
    from importlib.util import find_spec

    if path.suffix.removeprefix(".").lower() not in FORMATS:
        raise DmG1Error(f"a plot ends with .{', .'.join(FORMATS)}", where=str(path))
    if not path.absolute().parent.is_dir():
        raise DmG1Error("no such folder", where=str(path.absolute().parent))
    if find_spec("matplotlib") is None:
        raise DmG1Error("matplotlib is not installed", fix="pip install 'dm-isaac-g1[inference]'")


def save(path: Path, traces: Traces, found: Trajectory, *, title: str = "") -> None:
    """One trajectory as a picture. Raises EvaluationError."""
    # Not pyplot: it looks for a display, and keeps what is drawn.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(traces.names)
    rows = -(-count // COLUMNS)
    height = rows * HIGH + TITLE
    figure = Figure(figsize=(COLUMNS * WIDE, height), dpi=DPI)
    FigureCanvasAgg(figure)
    # Placed by hand: matplotlib's own layouts take seconds for 53 plots.
    figure.subplots_adjust(
        left=0.6 / (COLUMNS * WIDE),
        right=1 - 0.2 / (COLUMNS * WIDE),
        bottom=0.4 / height,
        top=1 - TITLE / height,
        hspace=0.45,
        wspace=0.25,
    )
    heading = f"episode {traces.episode}: MSE {found.mse:.4g}, MAE {found.mae:.4g}, {found.steps} steps"
    figure.suptitle(_plain(f"{title}  {heading}" if title else heading), y=1 - 0.25 / height)
    seconds = [step / traces.fps for step in range(len(traces.recorded))]
    for place, (group, name) in enumerate(traces.names):
        axes = figure.add_subplot(rows, COLUMNS, place + 1)
        axes.plot(seconds, traces.recorded[:, place], color="#1f77b4", linewidth=1.6, label="recorded")
        axes.plot(seconds, traces.predicted[:, place], color="#d62728", linewidth=1.1, label="predicted")
        sent = list(traces.sent)
        axes.plot([step / traces.fps for step in sent], traces.recorded[sent, place], "k.", markersize=4)
        axes.set_title(_plain(f"{group}: {name}"), fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(True, alpha=0.3)
        if place == 0:
            axes.legend(fontsize=7)
    written = io.BytesIO()
    figure.savefig(written, format=path.suffix.removeprefix(".").lower())
    write_whole(path, written.getvalue())


def _plain(text: str) -> str:
    """As it is: a dollar sign begins no formula."""
    return text.replace("$", r"\$")
