"""What a run was: enough to tell two runs apart and to repeat one."""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version

from hwsim import __version__
from hwsim.errors import InputError

from .strict_json import SCHEMA_VERSION, dump

_PACKAGES = ("numpy", "numba", "onnx", "torch")


@dataclass(frozen=True, slots=True)
class Environment:
    """The software and the machine of a run.

    Args:
        time_utc: When the run began, with its time zone.
        packages: Version by package; a package that is not installed is absent.
        python: Version of the interpreter.
        system: Operating system, as "Linux".
        machine: Processor architecture, as "x86_64".
    """

    time_utc: datetime
    packages: Mapping[str, str]
    python: str
    system: str
    machine: str

    def __post_init__(self) -> None:
        """Refuse a time that does not say where it was read."""
        if self.time_utc.tzinfo is None:
            raise InputError(f"time_utc must have a time zone, not {self.time_utc.isoformat()!r}")


def current_environment() -> Environment:
    """Return this process's environment, now."""
    packages = {"hwsim": __version__}
    for name in _PACKAGES:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            continue
    return Environment(
        time_utc=datetime.now(UTC),
        packages=packages,
        python=platform.python_version(),
        system=platform.system(),
        machine=platform.machine(),
    )


@dataclass(frozen=True, slots=True)
class Manifest:
    """What was run, on what, where and when.

    Args:
        command: The command line, one word per entry.
        environment: Software and machine.
        seed: Seed of everything random, or None where nothing was.
        model: Name of the model.
        model_sha256: Hash of the model file, or "".
        data_sha256: Hash of the inputs, or "".
        platform: Name of the platform.
        platform_sha256: Hash of the platform file, or "".
        settings: Everything else that decides the result, as JSON data.
    """

    command: tuple[str, ...]
    environment: Environment
    seed: int | None = None
    model: str = ""
    model_sha256: str = ""
    data_sha256: str = ""
    platform: str = ""
    platform_sha256: str = ""
    settings: Mapping[str, object] = field(default_factory=dict)


def manifest_json(manifest: Manifest) -> str:
    """Return a manifest as strict JSON.

    Raises:
        InputError: If a setting is no JSON data.
    """
    environment = manifest.environment
    return dump(
        {
            "schema_version": SCHEMA_VERSION,
            "kind": "manifest",
            "command": manifest.command,
            "time_utc": environment.time_utc.astimezone(UTC).isoformat(timespec="seconds"),
            "packages": environment.packages,
            "python": environment.python,
            "system": environment.system,
            "machine": environment.machine,
            "seed": manifest.seed,
            "model": {"name": manifest.model, "sha256": manifest.model_sha256},
            "data": {"sha256": manifest.data_sha256},
            "platform": {"name": manifest.platform, "sha256": manifest.platform_sha256},
            "settings": manifest.settings,
        }
    )
