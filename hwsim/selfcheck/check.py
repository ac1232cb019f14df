"""What one line of the self-check's table says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Check:
    """Cases of one kind compared element for element with somebody else's integers.

    Args:
        area: Where the cases come from, as "CMSIS-NN vectors".
        subject: The operator or network.
        profile: Our arithmetic.
        against: Whose numbers they are compared with.
        run: Cases compared.
        skipped: Cases left out, `note` says why.
        wrong: Cases with an element that differs.
        elements: Elements compared.
        note: Why cases were skipped, or what the first wrong one is.
    """

    area: str
    subject: str
    profile: str
    against: str
    run: int
    skipped: int
    wrong: int
    elements: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """Folders that the cases are read from; each may be absent.

    Args:
        vectors: Holds `cmsis_nn` and `seanet`.
        models: Holds `mlperf_tiny`.
        data: Holds `cifar10`.
    """

    vectors: Path
    models: Path
    data: Path


Progress = Callable[[str], None]
Area = Callable[[Places, Progress], Iterator[Check]]
