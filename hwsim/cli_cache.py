"""The verbs about compiled kernels on disk: cache info, cache clear."""

from hwsim.cli_options import AsJson, print_json


def cache_info(as_json: AsJson = False) -> None:
    """Show where compiled kernels are kept, how many bytes they take, and the tier that runs."""
    from hwsim.kernels.cache import folders, size_of, store
    from hwsim.kernels.native.target import INTERPRETED, target, tier

    chosen = tier()
    own = store()
    sizes = {str(folder): size_of(folder) for folder in folders()}
    if as_json:
        print_json(
            {
                "tier": INTERPRETED if chosen is None else chosen.name,
                "cpu": target().cpu,
                "folder": None if own.folder is None else str(own.folder),
                "writable": own.writable,
                "bytes": sizes,
            }
        )
        return
    print(f"tier     {INTERPRETED if chosen is None else chosen.name} ({target().cpu})")
    notes = "" if own.writable else ", cannot be written: each start compiles"
    print(f"folder   {own.folder or 'none'}{notes}")
    print(f"kept     {len(sizes)} folders, {sum(sizes.values()) / 1e6:.1f} MB")


def cache_clear() -> None:
    """Remove compiled kernels of all versions; the next use compiles again."""
    from hwsim.kernels.cache import clear

    removed = clear()
    print(f"removed {len(removed)} folders")
