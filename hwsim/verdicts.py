"""What a recording says about the arithmetic that made it: plain results, and what separates."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Outputs = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Separation:
    """An input on which arithmetics part.

    Args:
        node: The operator.
        inputs: One inference's operands by name.
        outputs: What each profile makes of them, by profile and value.
        value: An output that differs.
        index: The first element of it that differs.
        codes: That element by profile.
        changed: Elements of the inputs off their zero points.
    """

    node: str
    inputs: Mapping[str, NDArray[Any]]
    outputs: Mapping[str, Outputs]
    value: str
    index: tuple[int, ...]
    codes: Mapping[str, int | float]
    changed: int


@dataclass(frozen=True)
class Search:
    """What a search for a separating input found.

    Args:
        profiles: The two that were to be separated.
        separation: The input; None if there is none, or none was found.
        exhaustive: Whether every input was tried: then none exists.
        tried: Output elements computed per profile.
    """

    node: str
    profiles: tuple[str, str]
    separation: Separation | None
    exhaustive: bool
    tried: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """One profile on one operator.

    Args:
        profile: Its name.
        differing: Recorded elements that the profile does not reproduce; None if it refuses the
            operator.
        refused: Why it does.
    """

    profile: str
    differing: int | None
    refused: str = ""

    @property
    def consistent(self) -> bool:
        """Whether the profile reproduces every recorded element."""
        return self.differing == 0


@dataclass(frozen=True, slots=True)
class OperatorVerdict:
    """Every profile on one operator.

    Args:
        node: The operator's name.
        operator: What it does.
        elements: Recorded output elements.
        verdicts: One per profile.
        same: Profiles whose arithmetic on this operator is provably the same, in groups.
    """

    node: str
    operator: str
    elements: int
    verdicts: tuple[Verdict, ...]
    same: tuple[tuple[str, ...], ...]

    @property
    def consistent(self) -> tuple[str, ...]:
        """Profiles that reproduce every recorded element."""
        return tuple(verdict.profile for verdict in self.verdicts if verdict.consistent)

    @property
    def telling(self) -> bool:
        """Whether profiles that take the operator could differ on it."""
        return len(self.same) > 1


@dataclass(frozen=True, slots=True)
class Identification:
    """What a recording says about the arithmetic that made it.

    Args:
        profiles: Those that were tried.
        runs: Inferences recorded.
        rows: One per operator whose operands and outputs are recorded.
        consistent: Profiles consistent with every operator.
        left_out: Operators with something not recorded.
        searches: Searches for inputs that separate the profiles that remain.
    """

    profiles: tuple[str, ...]
    runs: int
    rows: tuple[OperatorVerdict, ...]
    consistent: tuple[str, ...]
    left_out: tuple[str, ...]
    searches: tuple[Search, ...] = ()

    @property
    def elements(self) -> int:
        """Recorded output elements that were compared."""
        return sum(row.elements for row in self.rows)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the separating inputs with their expected outputs, for an archive.

        Names are NUMBER/input/VALUE and NUMBER/output/PROFILE/VALUE.
        """
        made: dict[str, NDArray[Any]] = {}
        found = [s.separation for s in self.searches if s.separation is not None]
        for number, separation in enumerate(found):
            for name, array in separation.inputs.items():
                made[f"{number}/input/{name}"] = array
            for profile, outputs in separation.outputs.items():
                for name, array in outputs.items():
                    made[f"{number}/output/{profile}/{name}"] = array
        return made

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "profiles": list(self.profiles),
            "consistent": list(self.consistent),
            "runs": self.runs,
            "elements": self.elements,
            "left_out": list(self.left_out),
            "operators": [
                {
                    "node": row.node,
                    "operator": row.operator,
                    "elements": row.elements,
                    "consistent": list(row.consistent),
                    "differing": {v.profile: v.differing for v in row.verdicts},
                    "refused": {v.profile: v.refused for v in row.verdicts if v.refused},
                    "identical": [list(group) for group in row.same],
                }
                for row in self.rows
            ],
            "separations": [_search_dict(search) for search in self.searches],
        }


def _search_dict(search: Search) -> dict[str, Any]:
    found = search.separation
    plain: dict[str, Any] = {
        "node": search.node,
        "profiles": list(search.profiles),
        "exhaustive": search.exhaustive,
        "tried": search.tried,
        "found": found is not None,
    }
    if found is not None:
        plain |= {
            "value": found.value,
            "index": list(found.index),
            "codes": dict(found.codes),
            "changed": found.changed,
        }
    return plain
