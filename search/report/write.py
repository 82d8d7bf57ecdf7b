"""The files of a report: the page that opens offline, and the picture."""

from pathlib import Path
from typing import Any

from kptrain.machine.disk import replacing
from search.report.figures import summary_picture
from search.report.page import page_of, won, won_with
from search.report.svg import drawing
from search.space.training import Trainable
from search.trials.history import read_history

PAGE = "report.html"
CHAT = "report.png"


def write_report(folder: Path, trainable: Trainable[Any]) -> Path:
    """Write `report.html` and `report.png` into a search's folder; returns the first.

    Raises: CheckpointError or SettingsError if it holds no search.
    """
    history = read_history(folder, trainable)
    with replacing(folder / PAGE) as page:
        page.write_text(page_of(history), encoding="utf-8")
    with replacing(folder / CHAT) as picture, drawing():
        title = f"{folder.absolute().name}: {won(history)}\n{won_with(history)}".strip()
        summary_picture(history, title).savefig(picture, format="png", dpi=110)
    return folder / PAGE
