"""Networks: by name, of a user's file or function, from stored weights."""

from refluence.models.build import ModelSpec, build, width_beside
from refluence.models.choose import another, handed_over, network, read_name, read_spec
from refluence.models.custom import OwnSpec
from refluence.models.library import is_library
from refluence.models.text import TextSpec
from refluence.models.user_file import Maker

__all__ = [
    "Maker",
    "ModelSpec",
    "OwnSpec",
    "TextSpec",
    "another",
    "build",
    "handed_over",
    "is_library",
    "network",
    "read_name",
    "read_spec",
    "width_beside",
]
