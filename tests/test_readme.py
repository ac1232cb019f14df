"""The README's Python examples run as they stand, in order, in one namespace."""

import re
from pathlib import Path

from hwsim.profiles import find_profile

README = Path(__file__).resolve().parent.parent / "README.md"
CNN_CORRECT = re.compile(r"^(\d+) of 600$", re.MULTILINE)


def test_python_examples_run(capsys) -> None:  # type: ignore[no-untyped-def]
    blocks = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert len(blocks) >= 2
    namespace: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"README example {number}", "exec"), namespace)
    found = CNN_CORRECT.search(capsys.readouterr().out)
    assert found is not None and int(found.group(1)) >= 590


def test_profile_examples_are_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"```toml\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        path = tmp_path / f"example_{number}.toml"
        path.write_text(block, "utf-8")
        assert find_profile(path).rules


def test_named_files_exist() -> None:
    text = README.read_text("utf-8")
    root = README.parent
    for name in re.findall(r"`((?:hwsim|tests|kernels|energy)/[\w./]+\.py)`", text):
        assert (root / name).is_file(), name
