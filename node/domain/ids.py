"""Identifiers as types, so that a series UID cannot be passed where a study UID is meant."""

from typing import NewType

StudyInstanceUID = NewType("StudyInstanceUID", str)
SeriesInstanceUID = NewType("SeriesInstanceUID", str)
SOPInstanceUID = NewType("SOPInstanceUID", str)
SOPClassUID = NewType("SOPClassUID", str)
TransferSyntaxUID = NewType("TransferSyntaxUID", str)
FrameOfReferenceUID = NewType("FrameOfReferenceUID", str)

AETitle = NewType("AETitle", str)
"""A DICOM application entity title, at most 16 characters, without padding."""

AnalysisId = NewType("AnalysisId", str)
"""Hash of (StudyInstanceUID, rule, revision); also the id of the first DBOS workflow."""

RevisionNumber = NewType("RevisionNumber", int)
"""Counts from 1 for each study; every set of late images opens the next one."""

RuleName = NewType("RuleName", str)
BundleName = NewType("BundleName", str)
DestinationName = NewType("DestinationName", str)

Sha256 = NewType("Sha256", str)
"""64 lower-case hexadecimal digits."""
