"""How well the default rule reads real headers: `python -m tests.benchmarks.rules_on_headers`.

Every row of the table of 732 real series is judged as the only series of a study. The table of
confusion is printed for all rows, for those with physics and for those of which only a
description is known; and once for each half of a split by `group` (sites, data sets), because
the rule was tuned on one half before the other was looked at. Rows whose header does not carry
the answer (`Decidable` = no) are left out.
"""

import argparse
import csv
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.domain.header import Header
from node.domain.ids import (
    SeriesInstanceUID,
    SOPClassUID,
    SOPInstanceUID,
    StudyInstanceUID,
    TransferSyntaxUID,
)
from node.domain.regions import Role
from node.domain.study import SeriesFacts, StackFacts
from node.rules.grammar import Rule, parse_rules
from node.rules.roles import decide

ROOT: Final = Path(__file__).parents[2]
DEFAULT_RULE: Final = ROOT / "routing_rules" / "glioma.yaml"
DEFAULT_TABLE: Final = ROOT.parent / "shared" / "data" / "headers" / "headers.csv"
NONE: Final = "none"
CLASSES: Final = (*Role, NONE)

# Series of other body parts keep their contrast as class, but no role may take them. SHOULDER
# is not among them: in this table it stands on heads (Philips, glioblastoma).
OTHER_BODY_PARTS: Final = frozenset({"ORBIT", "PROSTATE", "SPINE", "KNEE"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One series: what is known of its header and what it is."""

    id: str
    group: str
    description: str
    has_physics: bool
    decidable: bool
    truth: str
    facts: SeriesFacts

    @property
    def is_held_out(self) -> bool:
        """Whether the row belongs to the half that the rule was not tuned on."""
        return hashlib.sha256(f"108:{self.group}".encode()).digest()[0] % 2 == 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Counts of (truth, decision) with the figures that matter."""

    counts: Counter[tuple[str, str]]

    @property
    def rows(self) -> int:
        """How many rows were judged."""
        return self.counts.total()

    @property
    def accuracy(self) -> float:
        """Rows decided right, "none" included, as a share of all."""
        return sum(n for (truth, said), n in self.counts.items() if truth == said) / self.rows

    @property
    def recall(self) -> float:
        """Series that have a role and were given it, as a share of those that have one."""
        found = sum(n for (t, said), n in self.counts.items() if t == said != NONE)
        return found / max(1, sum(n for (t, _), n in self.counts.items() if t != NONE))

    @property
    def precision(self) -> float:
        """Series given a role that is theirs, as a share of those given one."""
        found = sum(n for (t, said), n in self.counts.items() if t == said != NONE)
        return found / max(1, sum(n for (_, said), n in self.counts.items() if said != NONE))


def read_table(path: Path) -> tuple[Row, ...]:
    """Read the table of real headers."""
    with path.open(encoding="utf-8", newline="") as stream:
        return tuple(_row(cells) for cells in csv.DictReader(stream))


def _row(cells: dict[str, str]) -> Row:
    other_part = cells["BodyPartExamined"] in OTHER_BODY_PARTS or "not a head" in cells["Note"]
    truth = cells["Class"] if cells["Class"] in CLASSES and not other_part else NONE
    thickness = _number(cells["SliceThickness"])
    stack = StackFacts(slices=24, orientations=1, spacing_mm=thickness, plane="", problem=None)
    return Row(
        id=cells["id"],
        group=cells["group"],
        description=cells["SeriesDescription"],
        has_physics=cells["description_only"] != "yes",
        decidable=cells["Decidable"] == "yes",
        truth=truth,
        facts=SeriesFacts(header=_header(cells), instances=24, stack=stack),
    )


def _header(cells: dict[str, str]) -> Header:
    return Header(
        study_instance_uid=StudyInstanceUID("1.2"),
        series_instance_uid=SeriesInstanceUID(f"1.2.{cells['id'][1:].lstrip('0')}"),
        sop_instance_uid=SOPInstanceUID("1.2.3"),
        sop_class_uid=SOPClassUID("1.2.840.10008.5.1.4.1.1.4"),
        transfer_syntax_uid=TransferSyntaxUID("1.2.840.10008.1.2.1"),
        modality="MR",
        manufacturer=cells["Manufacturer"],
        magnetic_field_strength=_number(cells["MagneticFieldStrength"]),
        series_description=cells["SeriesDescription"],
        protocol_name=cells["ProtocolName"],
        body_part_examined=cells["BodyPartExamined"],
        image_type=_values(cells["ImageType"]),
        scanning_sequence=_values(cells["ScanningSequence"]),
        sequence_variant=_values(cells["SequenceVariant"]),
        mr_acquisition_type=cells["MRAcquisitionType"],
        sequence_name=cells["SequenceName"],
        pulse_sequence_name=cells["PulseSequenceName"],
        repetition_time_ms=_number(cells["RepetitionTime"]),
        echo_time_ms=_number(cells["EchoTime"]),
        inversion_time_ms=_number(cells["InversionTime"]),
        flip_angle_deg=_number(cells["FlipAngle"]),
        diffusion_b_value=_number(cells["DiffusionBValue"]),
        contrast_bolus_agent=cells["ContrastBolusAgent"],
    )


def _number(text: str) -> float | None:
    try:
        return float(text.split("\\", maxsplit=1)[0])
    except ValueError:
        return None


def _values(text: str) -> tuple[str, ...]:
    return tuple(text.split("\\")) if text else ()


def decision_of(rule: Rule, row: Row) -> str:
    """Return the role that the row's series takes as the only one of its study, or "none"."""
    chosen = decide(rule, [row.facts]).chosen
    return next(iter(chosen), NONE)


def score(rule: Rule, rows: Iterable[Row]) -> Score:
    """Judge the decidable rows."""
    return Score(counts=Counter((r.truth, decision_of(rule, r)) for r in rows if r.decidable))


def _print_score(title: str, result: Score) -> None:
    print(
        f"\n{title}: {result.rows} rows, accuracy {result.accuracy:.1%}, "
        f"recall {result.recall:.1%}, precision {result.precision:.1%}"
    )
    print("  is \\ said" + "".join(f"{said:>7}" for said in CLASSES))
    for truth in CLASSES:
        print(f"  {truth:<9}" + "".join(f"{result.counts[truth, said]:>7}" for said in CLASSES))


def _print_errors(rule: Rule, rows: Iterable[Row]) -> None:
    for row in rows:
        said = decision_of(rule, row)
        if row.decidable and said != row.truth:
            print(f"  {row.id} {row.group}: is {row.truth}, said {said}: {row.description}")
            for choice in decide(rule, [row.facts]).choices:
                print(f"      {choice.role}: {'; '.join(choice.candidates[0].reasons)}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, default=DEFAULT_TABLE)
    parser.add_argument("--rule", type=Path, default=DEFAULT_RULE)
    parser.add_argument("--errors", choices=["tuned", "held", "all"], help="list wrong rows")
    options = parser.parse_args(arguments)
    rule = parse_rules(options.rule.read_text(encoding="utf-8"), name=options.rule.name)
    rows = read_table(options.table)
    tuned = [row for row in rows if not row.is_held_out]
    held = [row for row in rows if row.is_held_out]
    for title, part in (("all groups", rows), ("tuned on", tuned), ("held out", held)):
        _print_score(f"{title}, all rows", score(rule, part))
        _print_score(f"{title}, with physics", score(rule, [r for r in part if r.has_physics]))
        _print_score(
            f"{title}, description only", score(rule, [r for r in part if not r.has_physics])
        )
    if options.errors:
        _print_errors(rule, {"tuned": tuned, "held": held, "all": rows}[options.errors])


if __name__ == "__main__":
    main()
