"""What a user can get wrong, one class each. Every message is one sentence: place, rule, value."""


class HwsimError(Exception):
    """Base of every error that a user's input can cause."""


def shown(text: str) -> str:
    """Return foreign text as one short line: a file may hold anything for a name."""
    plain = text if text.isprintable() else repr(text)[1:-1]
    return plain if len(plain) <= 80 else f"{plain[:77]}..."


class FormatError(HwsimError):
    """A file is not what its format demands."""


class UnsupportedOperatorError(FormatError):
    """A model file holds an operator that hwsim does not run."""


class GraphError(HwsimError):
    """A graph breaks a rule of its operators or of its numeric profile."""


class QuantizationError(HwsimError):
    """Quantization parameters, ranges or bit-widths are out of range."""


class InputError(HwsimError):
    """An array or an option handed to hwsim does not fit the graph."""


class PlatformError(HwsimError):
    """A platform description is wrong, or lacks what was asked of it."""


class BudgetError(HwsimError):
    """No configuration meets the budgets."""


class SearchError(HwsimError):
    """An exact search would need more memory than it was given."""


class OracleError(HwsimError):
    """A foreign runtime is missing, refused the model, or died."""
