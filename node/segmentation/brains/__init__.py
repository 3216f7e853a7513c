"""Brain extractors that are networks, behind imaging's port, and the choice among them."""

from node.segmentation.brains.choose import (
    BrainOptions,
    Method,
    choose_extractor,
    extract_brain,
    methods_at_hand,
    rank_methods,
)

__all__ = [
    "BrainOptions",
    "Method",
    "choose_extractor",
    "extract_brain",
    "methods_at_hand",
    "rank_methods",
]
