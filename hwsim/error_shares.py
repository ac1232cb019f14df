"""Each operator's error against float, and its shares: plain results."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Error:
    """How far values lie from their references.

    Args:
        sqnr_db: 10 log10 of summed squares of the reference over those of the error, in dB;
            infinite where there is no error, NaN where the reference is zero throughout.
        cosine: Cosine of the angle between both; NaN where one is zero throughout.
        largest: Largest absolute error, in the value's real unit.
    """

    sqnr_db: float
    cosine: float
    largest: float


@dataclass(frozen=True, slots=True)
class OperatorError:
    """The errors of one operator's output.

    Args:
        value: The output.
        node: The operator's name.
        operator: What it does.
        total: Integer network against float network.
        own: The operator alone.
        inherited: What it makes of the errors in its inputs.
    """

    value: str
    node: str
    operator: str
    total: Error
    own: Error
    inherited: Error


@dataclass(frozen=True, slots=True)
class Attribution:
    """Errors of every operator, in execution order.

    Args:
        profile: The integer arithmetic.
        reference: What the float network is: "float twin" (the same codes as reals), or the name
            of the float graph that was given.
        samples: Inputs run.
        rows: One per value that the float network has too.
        missing: Values that it does not have.
    """

    profile: str
    reference: str
    samples: int
    rows: tuple[OperatorError, ...]
    missing: tuple[str, ...]

    def to_frame(self) -> "pd.DataFrame":
        """Return one line per value."""
        import pandas as pd

        return pd.DataFrame(self.records())

    def records(self) -> list[dict[str, Any]]:
        """Return one flat record per value."""
        return [
            {"value": row.value, "node": row.node, "operator": row.operator}
            | {
                f"{kind}_{name}": number
                for kind in ("total", "own", "inherited")
                for name, number in asdict(getattr(row, kind)).items()
            }
            for row in self.rows
        ]
