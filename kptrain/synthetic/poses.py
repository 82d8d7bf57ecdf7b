"""A random pose of a synthetic person: named places on a body, as [3] vectors.

Body frame: axes (left, down, forward) of the person, origin between the hips.
View frame: axes (right, down, towards the viewer), the body frame rotated about the vertical. So
one angle determines left and right, front and back, and which part hides which.
Both in units of body height.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Points = dict[str, Floats]
Range = tuple[float, float]
Bend = tuple[Range, Range, Range, Range]

SIDES = (("left", 1.0), ("right", -1.0))

# Degrees away from hanging straight down: upper half of a limb (sideways, forwards), lower half
# (sideways, forwards).
HANG: Bend = ((6.0, 24.0), (-18.0, 22.0), (0.0, 18.0), (0.0, 45.0))
WAVE: Bend = ((75.0, 125.0), (-10.0, 25.0), (140.0, 195.0), (-10.0, 20.0))
AKIMBO: Bend = ((36.0, 55.0), (-20.0, 5.0), (-50.0, -28.0), (0.0, 25.0))
REACH: Bend = ((8.0, 35.0), (35.0, 80.0), (0.0, 30.0), (55.0, 115.0))
SPREAD: Bend = ((60.0, 100.0), (-10.0, 15.0), (55.0, 110.0), (-10.0, 20.0))
ARMS = (HANG, HANG, HANG, WAVE, AKIMBO, REACH, SPREAD)

STRAIGHT: Bend = ((1.0, 8.0), (-6.0, 8.0), (0.0, 6.0), (-12.0, 2.0))
WIDE: Bend = ((12.0, 24.0), (-6.0, 10.0), (6.0, 22.0), (-12.0, 2.0))
AHEAD: Bend = ((1.0, 6.0), (12.0, 32.0), (0.0, 5.0), (-6.0, 20.0))
BEHIND: Bend = ((1.0, 6.0), (-28.0, -8.0), (0.0, 5.0), (-55.0, -20.0))
RAISED: Bend = ((4.0, 20.0), (45.0, 85.0), (0.0, 12.0), (-20.0, 10.0))
LEGS = (
    (STRAIGHT, STRAIGHT),
    (STRAIGHT, STRAIGHT),
    (AHEAD, BEHIND),
    (AHEAD, BEHIND),
    (WIDE, WIDE),
    (STRAIGHT, RAISED),
)

# On a head of radius 1 around its centre: (left, down, forward). A mark is visible if it lies at
# least this far towards the viewer.
FACE = {
    "nose": ((0.0, 0.20, 1.02), -0.10),
    "left_eye": ((0.40, -0.14, 0.86), 0.12),
    "right_eye": ((-0.40, -0.14, 0.86), 0.12),
    "left_ear": ((1.04, 0.08, -0.08), -0.50),
    "right_ear": ((-1.04, 0.08, -0.08), -0.50),
}
HEAD = {name: xyz for name, (xyz, _) in FACE.items()} | {
    "mouth_left": (0.22, 0.58, 0.85),
    "mouth_right": (-0.22, 0.58, 0.85),
    "brow": (0.0, -0.15, 0.0),
    "chin": (0.0, 0.35, 0.0),
    "crown": (0.0, -0.36, -0.34),
    "nape": (0.0, 0.90, -0.45),
    "forehead": (0.0, -0.62, 0.25),
}


@dataclass(frozen=True)
class Build:
    """Proportions in body heights; `girth` is a factor on the width of limbs."""

    head: float
    girth: float
    shoulder: float
    hip: float
    trunk: float


def random_build(rng: np.random.Generator) -> Build:
    """Return proportions of a person; heads are a little large, so that faces stay readable."""
    return Build(
        head=rng.uniform(0.074, 0.094),
        girth=rng.uniform(0.85, 1.3),
        shoulder=rng.uniform(0.10, 0.135),
        hip=rng.uniform(0.055, 0.075),
        trunk=rng.uniform(0.27, 0.31),
    )


def random_pose(rng: np.random.Generator, build: Build) -> Points:
    """Return the places on a body in the view frame."""
    body = _limbs(rng, build) | _head(rng, build)
    return _rotated(body, _random_heading(rng), np.radians(rng.normal(0.0, 5.0)))


def hidden_by_head(points: Points, build: Build) -> dict[str, bool]:
    """For each joint on the head, whether it lies on the side away from the viewer."""
    near = {name: (points[name][2] - points["head"][2]) / build.head for name in FACE}
    return {name: bool(near[name] < least) for name, (_, least) in FACE.items()}


def _random_heading(rng: np.random.Generator) -> float:
    """Draw the heading in radians: 0 faces the viewer, positive rotates the chest to the right."""
    middle = float(rng.choice([0.0, 180.0, 90.0, -90.0], p=[0.58, 0.26, 0.08, 0.08]))
    spread = 40.0 if middle in (0.0, 180.0) else 25.0
    return float(np.radians(middle + rng.uniform(-spread, spread)))


def _limbs(rng: np.random.Generator, build: Build) -> Points:
    points: Points = {}
    legs = LEGS[rng.integers(len(LEGS))]
    lead = int(rng.integers(2))
    for index, (name, side) in enumerate(SIDES):
        shoulder = np.array([side * build.shoulder, -build.trunk, 0.0])
        elbow, wrist, arm = _limb(rng, shoulder, side, ARMS[rng.integers(len(ARMS))], 0.165, 0.145)
        hip = np.array([side * build.hip, 0.0, 0.0])
        knee, ankle, shin = _limb(rng, hip, side, legs[(index + lead) % 2], 0.235, 0.225)
        # The foot stands at a right angle to the shin and points a little outwards.
        toe = ankle + 0.03 * shin + [side * 0.02, -0.06 * shin[2], 0.06 * shin[1]]
        xyzs = (shoulder, elbow, wrist, wrist + 0.035 * arm, hip, knee, ankle, toe)
        places = ("shoulder", "elbow", "wrist", "hand", "hip", "knee", "ankle", "toe")
        points |= {f"{name}_{place}": xyz for place, xyz in zip(places, xyzs, strict=True)}
    return points


def _limb(
    rng: np.random.Generator, root: Floats, side: float, bend: Bend, upper: float, lower: float
) -> tuple[Floats, Floats, Floats]:
    """Return the middle joint, the end joint and the direction of the lower half."""
    out_1, fore_1, out_2, fore_2 = (np.radians(rng.uniform(low, high)) for low, high in bend)
    middle = root + upper * _direction(side, out_1, fore_1)
    lower_direction = _direction(side, out_2, fore_2)
    return middle, middle + lower * lower_direction, lower_direction


def _direction(side: float, outwards: float, forwards: float) -> Floats:
    down = np.cos(outwards)
    return np.array([side * np.sin(outwards), down * np.cos(forwards), down * np.sin(forwards)])


def _head(rng: np.random.Generator, build: Build) -> Points:
    """Return the head's centre and marks; it is rotated by up to 30 degrees from the chest."""
    centre = np.array([rng.normal(0.0, 0.008), -build.trunk - 0.045 - 1.25 * build.head, 0.012])
    local = {name: np.array(xyz) for name, xyz in HEAD.items()}
    rotated = _rotated(local, np.radians(rng.uniform(-30.0, 30.0)), 0.0)
    return {name: centre + build.head * xyz for name, xyz in rotated.items()} | {"head": centre}


def _rotated(points: Points, heading: float, lean: float) -> Points:
    """Rotate about the vertical by `heading`, then in the picture by `lean`, both in radians."""
    c, s = np.cos(heading), np.sin(heading)
    about_vertical = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    c, s = np.cos(lean), np.sin(lean)
    matrix = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ about_vertical
    return {name: matrix @ xyz for name, xyz in points.items()}
