"""Why something of a split is left out or repaired, to count by; and what a user does about it."""

BORDER_PX = 1.0
"""A joint so far outside of its image is taken for one at the border: scaled coordinates and
hands err by as much."""

NO_IMAGE_ID = "images without an id"
NO_NAME = "images without a file_name"
NO_SIZE = "images without a sound width and height"
TOO_LARGE = "images too large to be real"
IMAGE_TWICE = "images listed twice"
IMAGE_ID_TWICE = "images that share their id with another"
NO_FILE = "images whose file is missing"
SEVERAL_FILES = "images whose file name fits several files"
SHARED_FILE = "images whose file is another image's"
UNDECODED = "images that cannot be decoded"
OTHER_SIZE = "images of another size than annotated"
NOT_A_MAPPING = "annotations that are no mapping"
NOT_LISTED = "annotations of an image that is not listed"
TWICE = "annotations listed twice"
NO_BOX = "annotations without a box"
MALFORMED_BOX = "annotations with a malformed box"
EMPTY_BOX = "persons with an empty box, or one far from their joints (masked)"
MALFORMED_KEYPOINTS = "annotations with malformed keypoints (masked)"
NOT_17 = "annotations with another number of keypoints than 17 (masked)"
NO_FLAGS = "annotations with 17 x, y without v (masked)"
MALFORMED_CROWD = "annotations with a malformed iscrowd (masked)"
MALFORMED_OUTLINE = "malformed outlines (box masked)"
OUTSIDE = f"joints more than {BORDER_PX:g} px outside of their image (taken as not labelled)"
NO_PLACE = "joints without a place (taken as not labelled)"
UNKNOWN_FLAG = "joints whose v is not 0, 1 or 2 (taken as not labelled)"

# Nothing wrong, but nothing to learn from.
NO_PERSON = "images without a labelled keypoint"
OTHER_CATEGORY = "annotations that are not of a person"
OF_LEFT_OUT = "annotations of images that are left out"
CROWD = "crowds (masked)"
UNLABELLED = "persons without a labelled keypoint (masked)"

# Repaired.
NESTED = "keypoints with a list for each (read as one list)"
CLIPPED = f"joints up to {BORDER_PX:g} px outside of their image (clipped to the border)"
NO_AREA = "persons without an area (that of the box is taken)"
NO_MASKED_AREA = "masked annotations without an area (that of the box is taken)"
BOX_OF_OUTLINE = "annotations without a sound box (that of the outline is taken)"
BOX_OF_JOINTS = "annotations without a sound box (that of the labelled joints is taken)"
NO_CROWD = "annotations without iscrowd (taken as 0)"
NO_CATEGORY = "annotations without category_id (of the only category)"
OTHER_COUNT = "num_keypoints that differ from the keypoints (which count)"
NO_ID = "annotations without a sound id (numbered)"
ID_TWICE = "annotation ids used twice (renumbered)"
TEXT_ID = "ids that are no numbers from 0 to 2**63 - 1 (numbered)"
BY_END = "files found by the end of their name alone"

# Taken as it is, but hardly meant so.
ODD_AREA = "persons whose area does not fit their box"
SAME_FILE = "images whose file another image id has too"

ADVICE = {
    NO_IMAGE_ID: "give each image an id, a whole number or text, and its annotations the same as "
    "image_id",
    NO_NAME: "give each image a file_name, the path of its file below the image folder",
    NO_SIZE: "give each image its width and height in pixels: PIL.Image.open(file).size says both",
    TOO_LARGE: "reduce them, or correct width and height",
    UNDECODED: "fetch them again",
    OTHER_SIZE: "correct width and height if the keypoints fit the files, else give the images "
    "that were annotated",
    IMAGE_ID_TWICE: "give each image an id of its own, also where files were merged, and its "
    "annotations the same",
    NO_FILE: "move the images there, correct file_name, or grant the right to read the folders "
    "below",
    SEVERAL_FILES: "write file_name as the path below the image folder",
    SHARED_FILE: "write file_name as the path below the image folder",
    NOT_A_MAPPING: "write annotations as COCO does",
    NOT_LISTED: "check that image_id is the id of an image in this file",
    NO_BOX: "give each person a bbox: x, y, width, height in pixels",
    MALFORMED_BOX: "write bbox as x, y, width, height in pixels of the image",
    EMPTY_BOX: "write bbox as x, y, width, height in pixels of the image",
    MALFORMED_KEYPOINTS: "write keypoints as 17 x, y, v in one list of 51 numbers",
    NOT_17: "annotate COCO's 17 keypoints; those that are missing have x, y, v of 0, 0, 0",
    NO_FLAGS: "write keypoints as 17 x, y, v: v is 0 (not labelled), 1 (labelled, hidden) or 2 "
    "(visible)",
    MALFORMED_CROWD: "write iscrowd as 0 or 1",
    OUTSIDE: "write keypoints in pixels of the image, from its upper left corner",
    NO_PLACE: "write keypoints as 17 x, y, v of numbers",
    UNKNOWN_FLAG: "write v as 0 (not labelled), 1 (labelled, hidden) or 2 (visible)",
    UNLABELLED: "label keypoints, with v of 1 or 2; a file of boxes alone has none",
    CROWD: "write iscrowd as 1 for crowds only",
}
"""By the reason that left nothing. Of the others it is known where they arise."""
