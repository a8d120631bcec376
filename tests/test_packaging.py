"""What is installed: a wheel built from the tree has every room in it and no generic top-level names."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_a_wheel_installed_elsewhere_works(tmp_path):
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path / "dist"), str(ROOT)]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"minigrad", "minigrad_pytest.py"}
    ours = {path.relative_to(ROOT).as_posix() for path in (ROOT / "minigrad").rglob("*.py")}
    for room in ("nn", "zoo", "viz"):
        ours |= {f"minigrad/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / room).rglob("*.py")}
    assert ours <= set(names), ours - set(names)
    assert "minigrad/py.typed" in names
    assert {f"minigrad/viz/assets/{path.name}" for path in (ROOT / "viz" / "assets").iterdir()} <= set(names)

    target = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(target)
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r}); import minigrad, minigrad.nn, minigrad.zoo, minigrad.viz; "
        f"assert minigrad.__file__.startswith({str(target)!r}), minigrad.__file__; "
        f"assert minigrad.nn.__file__.startswith({str(target)!r}), minigrad.nn.__file__; "
        "assert minigrad.zoo.lenet()(minigrad.zeros(1, 1, 28, 28)).shape == (1, 10)"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True, cwd=tmp_path)


def test_every_package_of_the_tree_is_listed():
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    present = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "minigrad").rglob("__init__.py")}
    for room in ("nn", "zoo", "viz"):
        present |= {"minigrad." + ".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / room).rglob("__init__.py")}
    assert present == listed


def test_the_readme_opens_with_the_two_commands():
    block = (ROOT / "README.md").read_text().split("```")[1].strip().splitlines()
    assert block[1:] == [
        'python -m pip install -e ".[data]" && minigrad train lenet',
        'python -m pip install -e ".[data,test]" && python -m pytest',
    ]
