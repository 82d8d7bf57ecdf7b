"""The settings of what the network gets: the data, their augmentation, and the target heatmaps."""

from typing import Annotated, Literal

from pydantic import Field

from kptrain.keypoints import NUM_JOINTS
from kptrain.tree import Settings, setting

OUTPUT_STRIDE = 4
"""Input pixels per heatmap pixel: the backbone divides by 32, the deconvolutions multiply by 8."""

PERSON_REACH = 2.0
"""In the person view a pack stores what views see whose diagonal is this many times the crop's."""
SIGMA_RELATIVE = 1 / 32
"""2 pixels of a heatmap of 64 x 48, as in Xiao et al. 2018."""
MOST_PATCHES = 8
"""The most patches that are dropped from one sample."""

PositiveInt = Annotated[int, Field(ge=1)]
# YAML knows lists, not tuples.
ImageSize = Annotated[
    tuple[
        Annotated[int, Field(ge=64, le=1024, multiple_of=32)],
        Annotated[int, Field(ge=64, le=1024, multiple_of=32)],
    ],
    Field(strict=False),
]


class DataSettings(Settings):
    root: str | None = setting(None, changes="data", min_length=1)
    """Folder with COCO (FiftyOne's layout or COCO's own), or `embedded` for the synthetic data set.
    None: `KPTRAIN_DATA`, else `data/coco-2017` if it exists, else `embedded`."""
    view: Literal["image", "person"] = setting("image", changes="loss")
    """`image`: the whole image, stretched. `person`: a crop of one person per sample."""
    image_size: ImageSize = setting((256, 256), changes="loss")
    """(height, width) of the network's input in pixels, multiples of 32."""
    limit_train: PositiveInt | None = setting(None)
    """Most samples to train on, the first by image id. None: all."""
    limit_val: PositiveInt | None = setting(None, changes="data")
    """Most samples to validate on, the first by image id. None: all."""
    pack: Literal["raw", "jpeg"] = setting("raw")
    """How training samples are kept on the disk: `raw` pixels, or `jpeg`, about a tenth of that and
    slightly different pixels, decoded by all cores before each step. Validation is always raw."""
    strict: bool = setting(False, changes="place")
    """Refuse the data at the first unsound image or annotation. False: skip these, and report their
    number and the first of each kind."""


class AugmentSettings(Settings):
    flip: float = setting(0.0, ge=0, le=1)
    """Share of the samples that are flipped horizontally, with left and right joints exchanged."""
    rotation_deg: float = setting(0.0, ge=0, le=180)
    """Largest rotation about the centre in degrees, in either direction; of the photograph, before
    it is stretched. With `distribution: normal` the standard deviation, and the largest is twice
    this."""
    rotation_prob: float = setting(1.0, ge=0, le=1)
    """Share of the samples that are rotated."""
    scale: float = setting(0.0, ge=0, le=1)
    """Scaled by a factor from 1 / (1 + this) to 1 + this, uniform on a log scale. In the person
    view (1 + scale) (1 + 2 shift) is at most 2: what a pack stores around a crop."""
    shift: float = setting(0.0, ge=0, le=1)
    """Largest shift, as a share of the input's width and height."""
    distribution: Literal["uniform", "normal"] = setting("uniform")
    """Of rotation, scale and shift. `normal`: what they say is the standard deviation; rotations
    are clipped at twice that, scale and shift at once."""
    half_body_prob: float = setting(0.0, ge=0, le=1)
    """Share of the persons with enough labelled keypoints whose upper or lower half is cropped
    instead of the whole; only in the person view."""
    half_body_keypoints: int = setting(8, ge=2, le=NUM_JOINTS)
    """The least number of labelled keypoints of a person whose half is cropped."""
    colour: float = setting(0.0, ge=0, le=1)
    """Brightness, contrast and saturation, each times a factor from 1 - this to 1 + this."""
    hue: float = setting(0.0, ge=0, le=0.5)
    """Largest change of the hue, as a share of the colour circle, in either direction."""
    dropout_prob: float = setting(0.0, ge=0, le=1)
    """Share of the samples of which patches are made black (coarse dropout); labels stay."""
    dropout_patches: int = setting(1, ge=1, le=MOST_PATCHES)
    """The most patches of a sample; at least one."""
    dropout_size: float = setting(0.4, gt=0, le=1)
    """The longest side of a patch, as a share of the input's; the shortest is half of this."""

    @property
    def is_on(self) -> bool:
        """Whether any sample is changed."""
        moves = (self.flip, self.rotation_deg * self.rotation_prob, self.scale, self.shift)
        colours = (self.colour, self.hue, self.dropout_prob)
        return any((*moves, self.half_body_prob, *colours))


class HeatmapSettings(Settings):
    sigma_px: float | None = setting(2.0, changes="loss", ge=0.25)
    """Standard deviation of the Gaussian around a joint, in heatmap pixels. None: relative."""
    sigma_relative: float = setting(SIGMA_RELATIVE, changes="loss", gt=0, le=0.25)
    """The same where `sigma_px` is none: a share of the heatmap's longer side, so that it follows
    the input's size."""
    decode: Literal["parabola", "dark"] = setting("parabola")
    """From a predicted heatmap to a position: the parabola through the peak's logarithm and its
    neighbours', or `dark`: smoothed by a Gaussian of sigma first, then one step of Newton's."""


def check_view(data: DataSettings, augment: AugmentSettings) -> None:
    """Raises: ValueError for an augmentation that the view does not allow."""
    if data.view == "image":
        if augment.half_body_prob:
            raise ValueError(
                f"augment.half_body_prob must be 0 in the image view, where a sample has all "
                f"persons of an image, but got {augment.half_body_prob}; set data.view to person"
            )
    elif (1 + augment.scale) * (1 + 2 * augment.shift) > PERSON_REACH + 1e-9:
        raise ValueError(
            f"augment.scale and augment.shift must not show more than is stored around a person's "
            f"crop: (1 + scale) (1 + 2 shift) must be at most {PERSON_REACH:g}, but got "
            f"{augment.scale:g} and {augment.shift:g}; lower one of them"
        )


def check_sigma(heatmap: HeatmapSettings) -> None:
    """Raises: ValueError for two sigmas."""
    if heatmap.sigma_px is not None and heatmap.sigma_relative != SIGMA_RELATIVE:
        raise ValueError(
            f"heatmap.sigma_px must be null where heatmap.sigma_relative is given, but got "
            f"{heatmap.sigma_px} and {heatmap.sigma_relative}; set heatmap.sigma_px to null, or "
            f"remove heatmap.sigma_relative"
        )
