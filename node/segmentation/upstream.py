"""Where the weights of a model are published: configs/upstream.json beside our manifest.

It names every file by address, length and checksum, its licence, and what becomes of it.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from node.domain.errors import BundleInvalid, BundleMissing
from node.segmentation.manifest import METADATA

UPSTREAM: Final = "configs/upstream.json"

TEMPLATE_FOLDERS: Final = (
    Path(__file__).parents[1] / "defaults" / "models",  # in the installed package
    Path(__file__).parents[2] / "models",  # in a checkout
)
"""Where our manifests and cards of models with separate weights lie."""

MD5: Final = "md5:"
CHECKSUM: Final = r"^([0-9a-f]{64}|md5:[0-9a-f]{32})$"
"""SHA-256, or "md5:" and an MD5 where only that is published."""

ChecksumText = Annotated[str, Field(pattern=CHECKSUM)]
Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UpstreamFile(_Strict):
    """One published file.

    path: below the base address; its last part is the file's name. size: bytes, None when the
    publisher does not say; at most largest then. checksum: None when none is published that
    could be read while this list was written: the administrator must name it. becomes: the
    path in the bundle when it is taken as it is. unpacks: what is taken out of an archive,
    with the SHA-256 that others saw, which is no reason to trust or refuse it, or "".
    """

    path: Text
    size: Annotated[int, Field(gt=0)] | None = None
    largest: Annotated[int, Field(gt=0)] | None = None
    checksum: ChecksumText | None = None
    becomes: str = ""
    unpacks: dict[str, str] = Field(default_factory=dict)

    @field_validator("path")
    @classmethod
    def _stays_below(cls, path: str) -> str:
        pure = PurePosixPath(path)
        if pure.is_absolute() or ".." in pure.parts or str(pure) != path:
            raise ValueError("path must lie below base_url")
        return path

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if (self.size is None) == (self.largest is None):
            raise ValueError("either size or largest must be said")
        return self

    @property
    def name(self) -> str:
        """The file's own name."""
        return PurePosixPath(self.path).name

    @property
    def most_bytes(self) -> int:
        """What the file cannot be longer than."""
        return self.size or self.largest or 0


class Conversion(_Strict):
    """A TensorFlow checkpoint that becomes a safetensors file.

    checkpoint: path without the suffixes of its files. becomes: path in the bundle. keep: last
    parts of the names of the arrays that are taken. metadata: in the order in which the file
    has it, for the checksum depends on that.
    """

    checkpoint: Text
    becomes: Text
    keep: Annotated[tuple[Text, ...], Field(min_length=1)]
    metadata: dict[str, str] = Field(default_factory=dict)


class Licence(_Strict):
    """What the weights may be used for.

    notice: sentences that are shown before a fetch; also takes the place of the text where
    that is not at hand. file: path of the text among the files, or "". also: other names
    under which the text is known.
    """

    name: Text
    notice: Text
    file: str = ""
    also: tuple[str, ...] = ()


class Upstream(_Strict):
    """The whole list. source: for people. base_url: address that the paths are added to."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    source: Text
    base_url: Annotated[str, Field(pattern=r"^https?://[^?#]+/$")]
    query: Annotated[str, Field(pattern=r"^[A-Za-z0-9=&_-]*$")] = ""
    licence: Licence
    files: Annotated[tuple[UpstreamFile, ...], Field(min_length=1, max_length=200)]
    conversions: tuple[Conversion, ...] = ()

    def url(self, file: UpstreamFile) -> str:
        """Return the address of a file."""
        return f"{self.base_url}{file.path}" + (f"?{self.query}" if self.query else "")

    @property
    def licence_file(self) -> UpstreamFile | None:
        """The file that holds the licence's text."""
        return next((file for file in self.files if file.path == self.licence.file), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Something that can be fetched. is_bundle: else it is parameters for a step before."""

    folder: Path
    upstream: Upstream
    is_bundle: bool


def is_file_of(path: Path, checksum: str) -> bool:
    """Return whether a file has a checksum of our list.

    An MD5 holds back a file that was damaged or exchanged on its way, though not one of two
    that their maker gave the same sum. Raises BundleInvalid when it cannot be read.
    """
    kind = "md5" if checksum.startswith(MD5) else "sha256"
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, kind).hexdigest()
    except OSError as error:
        raise BundleInvalid(f"{path.parent.name}/{path.name} cannot be read") from error
    return digest == checksum.removeprefix(MD5)


def read_upstream(folder: Path) -> Upstream:
    """Read the list of a folder; raises BundleInvalid."""
    try:
        return Upstream.model_validate_json((folder / UPSTREAM).read_bytes())
    except OSError as error:
        raise BundleInvalid(f"{folder.name}: {UPSTREAM} cannot be read") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the file"
        raise BundleInvalid(f"{folder.name}: {UPSTREAM}: {place}: {first['msg']}") from error


def find_offers(folders: tuple[Path, ...] = TEMPLATE_FOLDERS) -> dict[str, Offer]:
    """Return by name what this installation knows how to fetch; raises BundleInvalid."""
    offers: dict[str, Offer] = {}
    for folder in (
        path for parent in folders if parent.is_dir() for path in sorted(parent.iterdir())
    ):
        if (folder / UPSTREAM).is_file():
            upstream = read_upstream(folder)
            is_bundle = (folder / METADATA).is_file()
            offer = Offer(folder=folder, upstream=upstream, is_bundle=is_bundle)
            offers.setdefault(upstream.name, offer)
    return offers


def find_offer(name: str, folders: tuple[Path, ...] = TEMPLATE_FOLDERS) -> Offer:
    """Return one of them by its name; raises BundleMissing when there is none."""
    offers = find_offers(folders)
    if name not in offers:
        raise BundleMissing(f"nothing called {name} can be fetched; there are {', '.join(offers)}")
    return offers[name]
