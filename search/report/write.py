"""Writes the files of a report: the page, which opens offline, and the picture."""

from pathlib import Path
from typing import Any

from kptrain.machine.disk import replacing
from search.report.figures import summary_picture
from search.report.page import best_settings, best_title, page_of
from search.report.svg import drawing
from search.space.training import Trainable
from search.trials.history import read_history

PAGE = "report.html"
PICTURE = "report.png"


def write_report(folder: Path, trainable: Trainable[Any]) -> Path:
    """Write `report.html` and `report.png` into a search's folder; returns the path of the page.

    Raises: CheckpointError or SettingsError if it holds no search.
    """
    history = read_history(folder, trainable)
    with replacing(folder / PAGE) as page:
        page.write_text(page_of(history), encoding="utf-8")
    with replacing(folder / PICTURE) as picture, drawing():
        title = f"{folder.absolute().name}: {best_title(history)}\n{best_settings(history)}".strip()
        summary_picture(history, title).savefig(picture, format="png", dpi=110)
    return folder / PAGE
