"""What was predicted of an H100 before any was seen, to stand beside what is measured.

From 3.0 TB/s and 798 TFLOP/s, kernel by kernel, with 691 MB of traffic and 70.5 GFLOP an image of
the full network at 256x256 in bfloat16.
"""

COPY_TB, PRODUCT_TFLOP = 3.0, 798.0
"""A second, of a copy within the device and of a bfloat16 product."""
GFLOP_AN_IMAGE = 70.5
IMAGES_A_SECOND = {
    ("eager", 8): (400, 550),
    ("eager", 64): (2000, 2500),
    ("graph", 8): (1500, 1900),
    ("compiled, graph", 64): (2700, 3100),
}
"""From least to most, by way and batch size."""
BOUNDS = {8: (2440, 2920), 64: (3335, 4300)}
"""At most so many images/s; and with batch norm, ReLU and addition fused."""


def beside(way: str, size: int) -> str:
    """The words that follow a measured rate; none where nothing was predicted."""
    text = ""
    if (way, size) in IMAGES_A_SECOND:
        low, high = IMAGES_A_SECOND[way, size]
        text += f"; predicted {low:,} to {high:,}"
    if size in BOUNDS:
        plain, fused = BOUNDS[size]
        text += f"; bound {plain:,}, {fused:,} fused"
    return text
