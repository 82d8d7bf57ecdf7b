"""The reasons to skip or repair parts of a split, by which they are counted; advice for each."""

BORDER_PX = 1.0
"""A joint up to this far outside its image is moved to the border: scaled coordinates and manual
annotation have such errors."""

NO_IMAGE_ID = "images without an id"
NO_NAME = "images without a file_name"
NO_SIZE = "images without a valid width and height"
TOO_LARGE = "images too large to be real"
IMAGE_TWICE = "images listed twice"
IMAGE_ID_TWICE = "images that share their id with another"
NO_FILE = "images whose file is missing"
SEVERAL_FILES = "images whose file name fits several files"
SHARED_FILE = "images whose file belongs to another image"
UNDECODED = "images that cannot be decoded"
OTHER_SIZE = "images of another size than annotated"
UNKNOWN_WHITE = "images whose values do not show which one is white"
NOT_A_MAPPING = "annotations that are not a mapping"
NOT_LISTED = "annotations of an image that is not listed"
TWICE = "annotations listed twice"
NO_BOX = "annotations without a box"
MALFORMED_BOX = "annotations with a malformed box"
EMPTY_BOX = "persons whose box is empty or far from their joints (masked)"
MALFORMED_KEYPOINTS = "annotations with malformed keypoints (masked)"
NOT_17 = "annotations without exactly 17 keypoints (masked)"
NO_FLAGS = "annotations with 17 x, y without v (masked)"
MALFORMED_CROWD = "annotations with a malformed iscrowd (masked)"
MALFORMED_OUTLINE = "malformed outlines (box masked)"
OUTSIDE = f"joints more than {BORDER_PX:g} px outside their image (not labelled)"
NO_PLACE = "joints without finite x, y (not labelled)"
UNKNOWN_FLAG = "joints whose v is not 0, 1 or 2 (not labelled)"

# Sound, but not used in training.
NO_PERSON = "images without a labelled keypoint"
OTHER_CATEGORY = "annotations that are not of a person"
OF_SKIPPED = "annotations of skipped images"
CROWD = "crowds (masked)"
UNLABELLED = "persons without a labelled keypoint (masked)"

# Repaired.
NESTED = "keypoints as nested lists (flattened)"
CLIPPED = f"joints up to {BORDER_PX:g} px outside their image (moved to the border)"
NO_AREA = "persons without an area (the box's is used)"
NO_MASKED_AREA = "masked annotations without an area (the box's is used)"
BOX_OF_OUTLINE = "annotations without a valid box (the outline's is used)"
BOX_OF_JOINTS = "annotations without a valid box (the labelled joints' is used)"
NO_CROWD = "annotations without iscrowd (read as 0)"
NO_CATEGORY = "annotations without category_id (the only category is used)"
NO_CATEGORIES = "files without named categories (one is read as the person)"
OTHER_NAME = "categories not named person (read as the person)"
NO_JOINT_NAMES = "categories without names of keypoints (COCO's 17 in COCO's order are assumed)"
OTHER_ORDER = "categories with COCO's keypoints in another order (sorted as COCO's)"
OTHER_COUNT = "num_keypoints that differ from the keypoints (which are counted)"
NO_ID = "annotations without a valid id (numbered)"
ID_TWICE = "annotation ids used twice (renumbered)"
TEXT_ID = "ids that are not numbers from 0 to 2**63 - 1 (numbered)"
BY_END = "files found only by the end of their name"

# Doubtful: used as it is, but probably not intended.
ODD_AREA = "persons whose area does not fit their box"
SAME_FILE = "images that share their file with another image id"

ADVICE = {
    NO_IMAGE_ID: "give each image an id, a whole number or text, and its annotations the same as "
    "image_id",
    NO_NAME: "give each image a file_name, the path of its file below the image folder",
    NO_SIZE: "give each image its width and height in pixels: PIL.Image.open(file).size gives both",
    TOO_LARGE: "make them smaller, or correct width and height",
    UNDECODED: "download them again",
    OTHER_SIZE: "correct width and height if the keypoints fit the files, else use the images "
    "that were annotated",
    IMAGE_ID_TWICE: "give each image a unique id, also in merged files, and its annotations "
    "the same",
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
    NOT_17: "annotate COCO's 17 keypoints, a missing one as x, y, v of 0, 0, 0",
    NO_FLAGS: "write keypoints as 17 x, y, v: v is 0 (not labelled), 1 (labelled, hidden) or 2 "
    "(visible)",
    MALFORMED_CROWD: "write iscrowd as 0 or 1",
    OUTSIDE: "write keypoints in pixels of the image, from its upper left corner",
    NO_PLACE: "write keypoints as 17 x, y, v of numbers",
    UNKNOWN_FLAG: "write v as 0 (not labelled), 1 (labelled, hidden) or 2 (visible)",
    UNLABELLED: "label keypoints, with v of 1 or 2; a file of boxes alone has none",
    CROWD: "write iscrowd as 1 for crowds only",
}
"""By reason: what to do if nothing is left because of it. The code that reports another reason
adds its own advice."""
