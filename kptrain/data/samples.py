"""The samples of a split: which part of which image each of them is, and whom to find in it."""

from dataclasses import dataclass

from kptrain.annotations.reader import CocoImage, Person, Split
from kptrain.config import DataSettings
from kptrain.data.parts import Part, input_alone, with_surroundings
from kptrain.data.views import PEAK_MARGIN, Frame, image_frame, person_frame
from kptrain.files.layout import SplitName


@dataclass(frozen=True)
class Sample:
    """A future input of the network: a frame of an image and the persons to find in it."""

    image: CocoImage
    frame: Frame
    part: Part
    """What is stored: the frame, or it and its surroundings."""
    persons: tuple[Person, ...]
    peak_margin: float | None
    """None: peaks are searched in the whole input."""


def samples_of(split: Split, settings: DataSettings) -> list[Sample]:
    """All samples of a split, without the limit of their number."""
    size, wide = settings.image_size, has_surroundings(settings, split.name)
    samples: list[Sample] = []
    for image in split.images:
        if settings.view == "image":
            frame = image_frame(image, size)
            samples.append(Sample(image, frame, input_alone(frame), image.persons, PEAK_MARGIN))
            continue
        for person in image.persons:
            frame = person_frame(person, size)
            part = with_surroundings(frame, image.size) if wide else input_alone(frame)
            samples.append(Sample(image, frame, part, (person,), None))
    return samples


def has_surroundings(settings: DataSettings, name: SplitName) -> bool:
    """Whether a split is stored with surroundings: where it may be augmented, in the person view.

    They do not depend on the augmentation, so that all trials of a search share one pack.
    """
    return settings.view == "person" and name == "train"


def is_jpeg(settings: DataSettings, name: SplitName) -> bool:
    """Whether a split is stored as JPEG: never what is validated on."""
    return settings.pack == "jpeg" and name == "train"


def limit_of(settings: DataSettings, name: SplitName) -> int | None:
    return settings.limit_train if name == "train" else settings.limit_val
