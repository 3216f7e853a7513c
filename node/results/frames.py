"""References to frames of several multi-frame images, which highdicom does not make.

highdicom takes one multi-frame image, or many single-frame ones. For a reference series of
several Enhanced objects each frame is given to it as a single-frame stand-in, and the stand-ins'
names are put right in what it made.
"""

from collections.abc import Mapping, MutableSequence

from pydicom import Dataset

from node.dicom.uids import derived_uid
from node.results.source import SourceSeries, SourceSlice


def stand_in_uid(at: SourceSlice) -> str:
    """Return the SOP Instance UID of the stand-in for one frame; it never leaves the node."""
    return derived_uid(at.header.sop_instance_uid, str(at.frame))


def name_frames(dataset: Dataset, source: SourceSeries) -> None:
    """Put the frames of multi-frame images in the place of their stand-ins."""
    stand_ins = {stand_in_uid(at): at for at in source.slices if at.frame is not None}
    for group in dataset.PerFrameFunctionalGroupsSequence:
        for derivation in group.get("DerivationImageSequence") or ():
            for image in derivation.SourceImageSequence:
                _name(image, stand_ins, with_frame=True)
    for series in dataset.ReferencedSeriesSequence:
        _name_once(series.ReferencedInstanceSequence, stand_ins)
    if dataset.get("SourceImageSequence"):
        _name_once(dataset.SourceImageSequence, stand_ins)


def _name(image: Dataset, stand_ins: Mapping[str, SourceSlice], *, with_frame: bool) -> None:
    at = stand_ins.get(image.ReferencedSOPInstanceUID)
    if at is None:
        return
    image.ReferencedSOPClassUID = at.header.sop_class_uid
    image.ReferencedSOPInstanceUID = at.header.sop_instance_uid
    if with_frame:
        image.ReferencedFrameNumber = at.frame


def _name_once(images: MutableSequence[Dataset], stand_ins: Mapping[str, SourceSlice]) -> None:
    """Name each image, and keep one reference to it."""
    for image in images:
        _name(image, stand_ins, with_frame=False)
    kept = {image.ReferencedSOPInstanceUID: image for image in images}
    images[:] = list(kept.values())
