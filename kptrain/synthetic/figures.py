"""A random person made of flat convex shapes, with the 17 COCO joints.

Frame: the view frame of `poses` in body heights, until `Figure.placed` takes it to pixels, x right
and y down. Letters: J = 17 joints, P = points of an outline, D = discs of a shape.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kptrain.keypoints import JOINTS
from kptrain.synthetic import poses
from kptrain.synthetic.poses import Build, Floats, Points

Colour = tuple[int, int, int]

GROUPS = ("torso", "head", "left arm", "right arm", "left leg", "right leg")

# (limb, from, to, radius at each end in body heights, what gives the colour)
LIMBS = (
    ("leg", "ankle", "toe", 0.032, 0.024, "shoe"),
    ("leg", "knee", "ankle", 0.046, 0.034, "shin"),
    ("leg", "hip", "knee", 0.062, 0.048, "thigh"),
    ("arm", "wrist", "hand", 0.030, 0.026, "skin"),
    ("arm", "shoulder", "elbow", 0.044, 0.036, "sleeve"),
    ("arm", "elbow", "wrist", 0.036, 0.029, "forearm"),
)
HAIR_COLOURS = ((30, 24, 22), (72, 46, 28), (128, 82, 42), (206, 170, 96), (150, 150, 148))
LIGHT_SKIN, DARK_SKIN = np.array([248.0, 212.0, 184.0]), np.array([92.0, 58.0, 40.0])
EYE_COLOUR, MOUTH_COLOUR = (20, 20, 28), (150, 50, 50)

CIRCLE = np.array([[np.cos(a), np.sin(a)] for a in np.linspace(0, 2 * np.pi, 16, endpoint=False)])


@dataclass(frozen=True)
class Part:
    """One convex shape of one colour; `outline_xy` is [P, 2]."""

    group: str
    outline_xy: Floats
    colour: Colour


@dataclass(frozen=True)
class Figure:
    """A person: joints [J, 2], which of them its own head hides [J], parts from back to front."""

    joints_xy: Floats
    behind_head: NDArray[np.bool_]
    parts: tuple[Part, ...]

    def placed(self, scale: float, offset_xy: Floats) -> Figure:
        """Return the figure enlarged by `scale` and then moved by `offset_xy`."""
        parts = tuple(
            Part(part.group, part.outline_xy * scale + offset_xy, part.colour)
            for part in self.parts
        )
        return Figure(self.joints_xy * scale + offset_xy, self.behind_head, parts)

    def corners_xy(self) -> tuple[Floats, Floats]:
        """Return the upper left and the lower right corner of the box around all parts."""
        points = np.concatenate([part.outline_xy for part in self.parts])
        return points.min(axis=0), points.max(axis=0)


@dataclass(frozen=True)
class Look:
    """A person's clothes and hair; `colours` has one colour for each name in LIMBS."""

    colours: dict[str, Colour]
    hair: str
    has_skirt: bool
    has_band: bool


Layered = list[tuple[float, Part]]  # (nearness to the viewer, part)


def random_figure(rng: np.random.Generator) -> Figure:
    """Return a person of random build, clothes, pose and heading, in the view frame."""
    build = poses.random_build(rng)
    points = poses.random_pose(rng, build)
    look = _random_look(rng)
    hidden = poses.hidden_by_head(points, build)
    parts = _trunk_parts(rng, points, build, look) + _limb_parts(points, build, look)
    parts += _head_parts(points, build, look, hidden)
    return Figure(
        joints_xy=np.stack([points[name][:2] for name in JOINTS]),
        behind_head=np.array([hidden.get(name, False) for name in JOINTS]),
        parts=tuple(part for _, part in sorted(parts, key=lambda pair: pair[0])),
    )


def shown_on(joint: str) -> frozenset[str]:
    """The groups on which `joint` is visible; anything else at its pixel hides it."""
    side, _, place = joint.rpartition("_")
    if place == "shoulder":
        return frozenset({"torso", f"{side} arm"})
    if place in ("elbow", "wrist"):
        return frozenset({f"{side} arm"})
    if place == "hip":
        return frozenset({"torso", "left leg", "right leg"})
    return frozenset({f"{side} leg"}) if place in ("knee", "ankle") else frozenset({"head"})


def random_colour(rng: np.random.Generator, strongest: float = 0.9) -> Colour:
    """Return a colour of any hue and brightness, with a saturation of at most `strongest`."""
    hue, strength, brightness = rng.random(), rng.uniform(0.0, strongest), rng.uniform(0.2, 0.98)
    return _as_colour(255 * np.array(colorsys.hsv_to_rgb(hue, strength, brightness)))


def shaded(colour: Colour, factor: float) -> Colour:
    """Return `colour` darkened (factor below 1) or brightened, within 0 to 255."""
    return _as_colour(np.array(colour) * factor)


def _as_colour(values: Floats) -> Colour:
    red, green, blue = (int(value) for value in np.clip(values, 0, 255))
    return red, green, blue


def _random_look(rng: np.random.Generator) -> Look:
    shirt, trousers, shoe, band = (random_colour(rng) for _ in range(4))
    skin = _as_colour(LIGHT_SKIN + (DARK_SKIN - LIGHT_SKIN) * rng.beta(0.8, 1.2))
    colours = {"shirt": shirt, "sleeve": shirt, "thigh": trousers, "shoe": shoe, "band": band}
    colours |= {"skin": skin, "hair": HAIR_COLOURS[rng.integers(len(HAIR_COLOURS))]}
    colours["forearm"] = shirt if rng.random() < 0.4 else skin
    colours["shin"] = trousers if rng.random() < 0.7 else skin
    hair = str(rng.choice(["short", "long", "cap", "bald"], p=[0.5, 0.3, 0.12, 0.08]))
    return Look(colours, hair, bool(rng.random() < 0.15), bool(rng.random() < 0.35))


def _trunk_parts(rng: np.random.Generator, points: Points, build: Build, look: Look) -> Layered:
    girth, colours = build.girth, look.colours
    shoulders = [points["left_shoulder"], points["right_shoulder"]]
    hips = [points["left_hip"], points["right_hip"]]
    neck = [np.mean(shoulders, axis=0), points["head"]]
    radii = [0.040 * girth] * 2 + [0.046 * girth] * 2
    parts = [
        _part("torso", neck, [0.034 * girth, 0.034], colours["skin"], -0.01),
        _part("torso", hips, [0.056 * girth] * 2, colours["thigh"], 0.005),
        _part("torso", shoulders + hips, radii, colours["shirt"], 0.015),
    ]
    if look.has_band:
        share = rng.uniform(0.25, 0.7)
        band = [top + share * (low - top) for top, low in zip(shoulders, hips, strict=True)]
        parts.append(_part("torso", band, [rng.uniform(0.012, 0.03)] * 2, colours["band"], 0.016))
    if look.has_skirt:
        hem = [hip * [1.6, 1.0, 1.0] + [0.0, 0.15, 0.0] for hip in hips]
        radii = [0.055 * girth] * 2 + [0.04 * girth] * 2
        parts.append(_part("torso", hips + hem, radii, colours["thigh"], 0.014))
    return parts


def _limb_parts(points: Points, build: Build, look: Look) -> Layered:
    parts = []
    for limb, start, end, radius_1, radius_2, cloth in LIMBS:
        is_bare = look.has_skirt and cloth == "shin"
        colour = look.colours["skin" if is_bare else cloth]
        for side, _ in poses.SIDES:
            ends = [points[f"{side}_{start}"], points[f"{side}_{end}"]]
            radii = [radius_1 * build.girth, radius_2 * build.girth]
            parts.append(_part(f"{side} {limb}", ends, radii, colour))
    return parts


def _head_parts(points: Points, build: Build, look: Look, hidden: dict[str, bool]) -> Layered:
    r, skin, hair = build.head, look.colours["skin"], look.colours["hair"]
    parts = [_part("head", [points["brow"], points["chin"]], [r, 0.88 * r], skin, 0.03)]
    if look.hair in ("short", "long"):
        parts.append(_part("head", [points["crown"]], [1.02 * r], hair, 0.03))
    if look.hair == "long":
        locks = [points["crown"], points["nape"]]
        parts.append(_part("head", locks, [1.02 * r, 0.8 * r], hair, 0.03))
    if look.hair == "cap":
        cap = [points["crown"], points["forehead"]]
        parts.append(_part("head", cap, [0.85 * r, 0.5 * r], look.colours["band"], 0.1))
    marks = {"nose": (0.16, shaded(skin, 0.72)), "eye": (0.15, EYE_COLOUR)}
    marks["ear"] = (0.25, shaded(skin, 0.9))
    for name in poses.FACE:
        radius, colour = marks[name.rpartition("_")[2]]
        if not hidden[name]:
            parts.append(_part("head", [points[name]], [radius * r], colour, 0.2))
    if not hidden["nose"]:
        lips = [points["mouth_left"], points["mouth_right"]]
        parts.append(_part("head", lips, [0.07 * r] * 2, MOUTH_COLOUR, 0.2))
    return parts


def _part(
    group: str, discs: list[Floats], radii: list[float], colour: Colour, nearer: float = 0.0
) -> tuple[float, Part]:
    """Return the hull of discs with its nearness; farther parts are a little darker."""
    depth = float(np.mean([centre[2] for centre in discs]))
    outline = _hull_of_discs(np.array([centre[:2] for centre in discs]), np.array(radii))
    return depth + nearer, Part(group, outline, shaded(colour, 1.0 + 0.9 * min(depth, 0.1)))


def _hull_of_discs(centres_xy: Floats, radii: Floats) -> Floats:
    """Return the convex outline [P, 2] around discs, centres [D, 2] and radii [D].

    The farthest point of a shape in a direction lies on its hull, and the farthest points of
    directions that run around once run around the hull once.
    """
    farthest = np.argmax(centres_xy @ CIRCLE.T + radii[:, None], axis=0)
    outline: Floats = centres_xy[farthest] + radii[farthest, None] * CIRCLE
    return outline
