"""The one tree of errors; it says whose fault it is, and so whether to try again.

SegnodeError
├── RefusedInput            the input's fault: never retried by itself
│   ├── NotDicom            bytes that are no DICOM data set
│   ├── MissingIdentifier   no SOP, series or study UID
│   ├── UnsupportedSopClass not a storage class that is taken
│   ├── DuplicateDiffers    same SOP Instance UID, other bytes
│   ├── ObjectTooLarge      longer than the site allows
│   ├── SeriesUnusable      a series that cannot be made into one volume
│   │   ├── TooFewSlices, SliceGap, DoubledSlice, MixedOrientation, MixedGeometry
│   │   ├── NoGeometry, ShearedGeometry, UndecodablePixels
│   │   ├── MultipleVolumes, TiledImages, VolumeTooLarge, NoSignal
│   └── StudyUnusable       RoleMissing, RegistrationFailed, MirroredSeries, BrainNotFound,
│                           HeadIncomplete
├── SiteFault               this machine or its configuration: an administrator acts, then retry
│   ├── ConfigurationInvalid, RuleInvalid, DestinationUnknown, BundleInvalid, BundleMissing
│   ├── SpoolUnwritable, SpoolDamaged, LedgerUnavailable, Overloaded
│   ├── OutOfMemory, TimeLimitReached, DeviceFailed
├── PeerFault               the world's fault: retried
│   ├── DestinationUnreachable, DestinationRefused, DownloadFailed
└── OwnFault                a defect of ours: EncodingRefused, StepCrashed, RowRefused

Every error carries what an administrator reads: what happened (the message), what it means
for the study, and what to do. None of them may hold patient data.
"""

from typing import ClassVar


class SegnodeError(Exception):
    """Root of all errors that Segnode raises on purpose.

    code: stable kebab-case name, a closed set, fit as a metric label.
    meaning: what it means for the study.
    remedy: what the administrator does.
    """

    code: ClassVar[str] = "segnode-error"
    meaning: ClassVar[str] = "The study was not analysed."
    remedy: ClassVar[str] = "Look at `segnode studies show` and the log of the process."

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class RefusedInput(SegnodeError):
    """What was received cannot be used; trying again without new input changes nothing."""

    code = "refused-input"


class NotDicom(RefusedInput):
    """The bytes cannot be read as a DICOM data set."""

    code = "not-dicom"
    meaning = "The object was not stored; the sender was told so and still has it."
    remedy = "Check the sender; if it is a scanner, keep the object for its vendor."


class MissingIdentifier(RefusedInput):
    """A data set without the identifiers that every object must have."""

    code = "missing-identifier"
    meaning = "The object belongs to no study and was not stored."
    remedy = "Check the sender: SOP, series and study instance UIDs are type 1."


class UnsupportedSopClass(RefusedInput):
    """An object of a class that is not stored here."""

    code = "unsupported-sop-class"
    meaning = "The object was not stored; the rest of the study is not affected."
    remedy = "Nothing, if the sender sends whole studies; else restrict what it sends."


class DuplicateDiffers(RefusedInput):
    """A second object with a known SOP Instance UID but other content."""

    code = "duplicate-differs"
    meaning = "The first object stays; the second was put aside and is not used."
    remedy = "Find out why the sender reuses identifiers; compare the object kept aside."


class ObjectTooLarge(RefusedInput):
    """An object that is longer than the site allows."""

    code = "object-too-large"
    meaning = "The object was not stored; the sender was told so and still has it."
    remedy = "If such objects are wanted, raise `listen.limits.instance_mib` in node.yaml."


class SeriesUnusable(RefusedInput):
    """A series that cannot be made into one volume."""

    code = "series-unusable"
    meaning = "The series cannot take its role in the analysis."
    remedy = "Send the series again from the scanner or archive."


class TooFewSlices(SeriesUnusable):
    """Fewer slices than a volume needs."""

    code = "too-few-slices"
    meaning = "The series is a localizer or a fragment and takes no role."
    remedy = "Nothing for a localizer; else send the whole series again."


class SliceGap(SeriesUnusable):
    """A slice position is missing."""

    code = "slice-gap"
    meaning = "Volumes measured on this series would be wrong, so it is not used."
    remedy = "Send the series again; the missing slice is taken when it comes."


class DoubledSlice(SeriesUnusable):
    """Two images at one slice position."""

    code = "doubled-slice"
    meaning = "It is not known which image is right (or it is multi-echo), so none is used."
    remedy = "Send the series split by echo or repetition, or correct it in the archive."


class MixedOrientation(SeriesUnusable):
    """Slices of different orientation in one series."""

    code = "mixed-orientation"
    meaning = "The series is a localizer or a mixture and takes no role."
    remedy = "Nothing for a localizer; else have the series split at the scanner."


class MixedGeometry(SeriesUnusable):
    """Slices of different matrix, spacing or frame of reference in one series."""

    code = "mixed-geometry"
    meaning = "The slices do not form one volume, so the series is not used."
    remedy = "Have the series split at the scanner."


class NoGeometry(SeriesUnusable):
    """Position, orientation or spacing is absent."""

    code = "no-geometry"
    meaning = "Nobody knows where the slices lie, so the series is not used."
    remedy = "Send original images, not screenshots or secondary captures."


class ShearedGeometry(SeriesUnusable):
    """The slices do not lie above each other along their normal."""

    code = "sheared-geometry"
    meaning = "The series is not a right-angled volume, so it is not used."
    remedy = "Have the series reconstructed without gantry or field-of-view shift."


class UndecodablePixels(SeriesUnusable):
    """Pixel data that cannot be decoded or is not grey-scale."""

    code = "undecodable-pixels"
    meaning = "The images cannot be read, so the series is not used."
    remedy = "Send the series uncompressed, or tell us the transfer syntax."


class MultipleVolumes(SeriesUnusable):
    """Several volumes in one series: echoes, time points, magnitude and phase."""

    code = "multiple-volumes"
    meaning = "It is not known which of the volumes is meant, so the series is not used."
    remedy = "Send the series split by what the reason names."


class TiledImages(SeriesUnusable):
    """Many slices laid side by side in one image, as a mosaic."""

    code = "tiled-images"
    meaning = "Such series are fast echo-planar ones and take no role."
    remedy = "Nothing, or have the scanner export single or enhanced images."


class VolumeTooLarge(SeriesUnusable):
    """More voxels than an analysis can hold in memory."""

    code = "volume-too-large"
    meaning = "The series was not read, because it would not fit into memory."
    remedy = "Send the series as acquired, without the interpolation to a larger matrix."


class NoSignal(SeriesUnusable):
    """Images of one value only."""

    code = "no-signal"
    meaning = "The images show nothing, so the series is not used."
    remedy = "Look at the series; send it again if the scanner shows more than that."


class StudyUnusable(RefusedInput):
    """A study that cannot be analysed although its series are readable."""

    code = "study-unusable"


class RoleMissing(StudyUnusable):
    """No series can take a role that the rule requires."""

    code = "role-missing"
    remedy = "Send the missing series, or change the rule; the study is looked at again."


class RegistrationFailed(StudyUnusable):
    """Two series could not be brought to cover each other."""

    code = "registration-failed"
    remedy = "Look for a wrong or mirrored series; then retry the study."


class MirroredSeries(StudyUnusable):
    """A series whose left is the right of another."""

    code = "mirrored-series"
    meaning = "Nothing was made of it: a result might be on the wrong side of the head."
    remedy = "Find out which series is mirrored (a conversion, an export) and send it as acquired."


class HeadIncomplete(StudyUnusable):
    """Too much of the brain lies outside the field of view."""

    code = "head-incomplete"
    remedy = "Send a series that covers the brain, or change the rule's reference role."


class BrainNotFound(StudyUnusable):
    """The brain extraction gave no plausible brain."""

    code = "brain-not-found"
    remedy = "Check that the reference series shows a head and covers the brain."


class SiteFault(SegnodeError):
    """Something of this installation is wrong; a retry works after it is mended."""

    code = "site-fault"


class ConfigurationInvalid(SiteFault):
    """The configuration cannot be used."""

    code = "configuration-invalid"
    meaning = "The process does not start with it."
    remedy = "Correct the named line; `segnode doctor` checks the whole file."


class RuleInvalid(SiteFault):
    """A rule file cannot be used."""

    code = "rule-invalid"
    meaning = "The last valid rules stay in force."
    remedy = "Correct the named line of the rule file; it is read again when saved."


class DestinationUnknown(SiteFault):
    """A rule names a destination that the configuration does not have, or there is none."""

    code = "destination-unknown"
    remedy = "Name the destination in node.yaml or correct the rule, then retry the study."


class BundleMissing(SiteFault):
    """A bundle that a rule names is not installed."""

    code = "bundle-missing"
    remedy = "Install it (`segnode models fetch` or `segnode models import`), then retry the study."


class BundleInvalid(SiteFault):
    """A bundle is incomplete, altered or not understood."""

    code = "bundle-invalid"
    remedy = "Run `segnode models verify`, install the bundle again, then retry the study."


class SpoolUnwritable(SiteFault):
    """The spool cannot be written."""

    code = "spool-unwritable"
    meaning = "Nothing is acknowledged until it can be written again; senders keep their images."
    remedy = "Check mount, free space, inodes and permissions of the spool."


class SpoolDamaged(SiteFault):
    """A file in the spool is absent or is not what was written."""

    code = "spool-damaged"
    meaning = "The study cannot be analysed from what is on disk."
    remedy = "Check the disk, then send the study again."


class LedgerUnavailable(SiteFault):
    """The database cannot be reached or written."""

    code = "ledger-unavailable"
    meaning = "Nothing is acknowledged until it answers again; senders keep their images."
    remedy = "Check the database URL, the disk that it lies on, and its locks."


class Overloaded(SiteFault):
    """There is no room for more, or too much is unfinished."""

    code = "overloaded"
    meaning = "New images are refused as out of resources for now; senders keep them."
    remedy = "Make room on the spool's disk, or see what holds up the work that waits."


class OutOfMemory(SiteFault):
    """The model did not fit into memory, not even in the smallest pieces on the CPU."""

    code = "out-of-memory"
    remedy = "Free memory or add some (`segnode doctor` shows what is there), then retry the study."


class TimeLimitReached(SiteFault):
    """A computation took longer than it may and was stopped."""

    code = "time-limit"
    remedy = "See what else the machine does, or raise `work.limits` in node.yaml; then retry."


class DeviceFailed(SiteFault):
    """A GPU that is there could not be used."""

    code = "device-failed"
    remedy = "Check that driver and torch fit together (`nvidia-smi`), then retry the study."


class PeerFault(SegnodeError):
    """A peer does not answer or does not take; tried again later."""

    code = "peer-fault"


class DestinationUnreachable(PeerFault):
    """No association with the destination could be had."""

    code = "destination-unreachable"
    meaning = "The result exists and waits; it is sent again by itself until the limit."
    remedy = "`segnode doctor` echoes every destination; then `segnode studies retry`."


class DestinationRefused(PeerFault):
    """The destination answered a failure status."""

    code = "destination-refused"
    meaning = "The result exists here but not at that destination."
    remedy = "Ask the archive's administrator with the status; then `segnode studies retry`."


class DownloadFailed(PeerFault):
    """A file could not be had, or is not the file that was wanted."""

    code = "download-failed"
    meaning = "Nothing was installed; what was there before stays."
    remedy = "Try again, or carry the file here by hand and name it with --from."


class OwnFault(SegnodeError):
    """A defect of ours, held back before it could do harm."""

    code = "own-fault"
    remedy = "Report it with the study's story; retry after an update."


class EncodingRefused(OwnFault):
    """An object that we made did not pass the gate before sending."""

    code = "encoding-refused"
    meaning = "Nothing was sent, because the object would not show what was found."


class StepCrashed(OwnFault):
    """A step of the analysis raised an error that nobody foresaw."""

    code = "step-crashed"


class RowRefused(StepCrashed):
    """The database takes no row with these values, however often it is asked."""

    code = "row-refused"
    meaning = "The object is kept aside and is not used; the rest of the study goes on."
    remedy = "Report it: a value came that the ledger cannot hold."


def all_codes() -> frozenset[str]:
    """Return the closed set of codes of the tree, for metric labels and tests."""

    def descend(kind: type[SegnodeError]) -> set[str]:
        return {kind.code}.union(*(descend(child) for child in kind.__subclasses__()))

    return frozenset(descend(SegnodeError))
