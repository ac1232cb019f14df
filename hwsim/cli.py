"""The command line: one verb, one artifact. Heavy imports wait until a verb needs them."""

import sys
from typing import Annotated

import typer

from hwsim import (
    cli_accumulators,
    cli_cache,
    cli_check,
    cli_choose,
    cli_dvfs,
    cli_macs,
    cli_platforms,
    cli_profiles,
    cli_run,
    cli_selfcheck,
)
from hwsim.errors import HwsimError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run quantized networks bit-exactly, price them on platforms, choose their bits.",
)
for verb in (
    cli_run.info,
    cli_run.run,
    cli_run.trace,
    cli_run.export,
    cli_check.validate,
    cli_check.identify,
    cli_check.attribute,
    cli_accumulators.accumulators,
    cli_choose.cost,
    cli_dvfs.dvfs,
    cli_macs.mac_models,
    cli_choose.sensitivity,
    cli_choose.allocate,
    cli_choose.pareto,
    cli_choose.demo,
    cli_selfcheck.selfcheck,
):
    app.command()(verb)
platforms = typer.Typer(no_args_is_help=True, help="Platform description files.")
platforms.command("list")(cli_platforms.list_platforms)
platforms.command("show")(cli_platforms.show_platform)
platforms.command("check")(cli_platforms.check_platforms)
platforms.command("schema")(cli_platforms.print_schema)
platforms.command("validate")(cli_platforms.validate_platforms)
platforms.command("softmax-matrix")(cli_platforms.softmax_matrix)
app.add_typer(platforms, name="platforms")
profiles = typer.Typer(no_args_is_help=True, help="Numeric profiles.")
profiles.command("list")(cli_profiles.list_profiles)
profiles.command("show")(cli_profiles.show_profile)
profiles.command("check")(cli_profiles.check_profiles)
profiles.command("schema")(cli_profiles.print_schema)
app.add_typer(profiles, name="profiles")
cache = typer.Typer(no_args_is_help=True, help="Compiled kernels on disk.")
cache.command("info")(cli_cache.cache_info)
cache.command("clear")(cli_cache.cache_clear)
app.add_typer(cache, name="cache")


def main() -> None:
    """Run the command line; bad input is one sentence and exit status 2."""
    try:
        app()
    except HwsimError as error:
        print(f"hwsim: {error}", file=sys.stderr)
        sys.exit(2)


def _version(shown: bool) -> None:
    if shown:
        from hwsim import __version__

        print(f"hwsim {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Hold the options that every verb shares."""
