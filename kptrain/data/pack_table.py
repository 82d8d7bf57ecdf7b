"""Everything in a pack except the pixels, from the samples: the table and the masks."""

import numpy as np

from kptrain.annotations.reader import Ignored, Person
from kptrain.config import DataSettings
from kptrain.data.pack_format import Table
from kptrain.data.samples import Sample
from kptrain.data.views import ignore_mask
from kptrain.keypoints import NUM_JOINTS
from kptrain.machine.progress import track


def masks_of(
    samples: list[Sample], settings: DataSettings, title: str, progress: bool
) -> np.ndarray:
    """`Pack.ignore` of all samples."""
    if settings.view == "image":
        shown = track(samples, title, len(samples), shown=progress)
        return np.array([ignore_mask(sample.image, settings.image_size) for sample in shown])
    return np.zeros((len(samples), 1, 1), dtype=bool)


def table_of(
    samples: list[Sample],
    rows: list[int],
    starts: np.ndarray,
    num_bytes: np.ndarray,
    settings: DataSettings,
) -> Table:
    """The table of the samples whose pixels are in the given rows.

    starts, num_bytes: (S,) of each sample's bytes.
    """
    height, width = settings.image_size
    whole = np.array([0, 0, width, height], dtype=np.float32)
    pairs = [(sample, person) for sample in samples for person in sample.persons]
    return Table(
        row=np.array(rows),
        start=starts,
        num_bytes=num_bytes,
        stored=np.array([sample.part.frame.size for sample in samples]),
        zoom=np.array([sample.part.zoom for sample in samples]),
        origin=np.array([sample.part.origin for sample in samples]),
        first=np.cumsum([0, *(len(sample.persons) for sample in samples)]),
        scale=np.array([sample.frame.scale for sample in samples]),
        shift=np.array([sample.frame.shift for sample in samples]),
        inside=np.array([s.frame.edges(s.image.size) for s in samples], dtype=np.float32),
        joints=np.array([s.frame.keypoints_in(p.keypoints) for s, p in pairs], dtype=np.float32),
        peak_box=np.array(
            [
                whole if s.peak_margin is None else s.frame.box_in(p.box_xywh, s.peak_margin)
                for s, p in pairs
            ],
            dtype=np.float32,
        ),
        keypoints=np.array([p.keypoints for _, p in pairs]),
        area=np.array([p.area for _, p in pairs]),
        person_id=np.array([p.id for _, p in pairs]),
        image_id=np.array([s.image.id for s, _ in pairs]),
        place=np.array([p.place for _, p in pairs]),
        **_ignored(samples),
    )


def _ignored(samples: list[Sample]) -> dict[str, np.ndarray]:
    """The columns of `Table` for ignored regions: once per image, however many samples it has.

    Includes the persons of the last image that are beyond a limit of samples: they are not searched
    for, but a detection there does not count as false.
    """
    images = {sample.image.id: sample.image for sample in samples}.values()
    wanted = {person.id for sample in samples for person in sample.persons}
    beyond = [(i.id, one) for i in images for one in i.persons if one.id not in wanted]
    pairs: list[tuple[int, Ignored | Person]] = [(i.id, one) for i in images for one in i.ignored]
    pairs += beyond
    keypoints = np.array([one.keypoints for _, one in pairs], dtype=np.float64)
    return {
        "ignored_keypoints": keypoints.reshape(-1, NUM_JOINTS, 3),
        "ignored_box": np.array([one.box_xywh for _, one in pairs], np.float64).reshape(-1, 4),
        "ignored_area": np.array([one.area for _, one in pairs], np.float64),
        "ignored_is_crowd": np.array(
            [isinstance(one, Ignored) and one.is_crowd for _, one in pairs], bool
        ),
        "ignored_image_id": np.array([image_id for image_id, _ in pairs], np.int64),
        "ignored_place": np.array([one.place for _, one in pairs], np.int64),
    }
