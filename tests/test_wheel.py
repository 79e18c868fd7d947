"""The wheel: what it holds, and that it works where there is no checkout."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUN = ("engine=reference", "stages=2", "model=mlp", "model.hidden=8", "max_steps=2", "tracking=none")


def done(*command: str | Path, folder: Path) -> str:
    """What a command prints that must succeed, in a folder, without this checkout on its path."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    answer = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy, as setuptools leaves folders beside the sources; nothing is fetched."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("bench", "conf"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    offline = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    done(sys.executable, "-m", "pip", "wheel", *offline, "--wheel-dir", folder, ".", folder=source)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment that holds the wheel, and sees the packages of this one.

    A line of a ``.pth`` file is added to the path, but the ``.pth`` files in there, such as that of an editable
    install, are not read.
    """
    environment = tmp_path_factory.mktemp("environment")
    done(sys.executable, "-m", "venv", "--without-pip", environment, folder=environment)
    python = environment / "bin" / "python"
    offline = ("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    done(sys.executable, "-m", "pip", "--python", python, "install", *offline, wheel, folder=environment)
    packages = next(environment.glob("lib/python*/site-packages"))
    (packages / "outside.pth").write_text("\n".join(site.getsitepackages()))
    return python.parent


def test_a_wheel_is_one_package_with_everything_in_it(wheel: Path) -> None:
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    code = [
        path.relative_to(ROOT) for kind in ("py", "html", "css", "js") for path in (ROOT / "bench").rglob(f"*.{kind}")
    ]
    choices = [Path("bench", path.relative_to(ROOT)) for path in (ROOT / "conf").rglob("*.yaml")]
    assert len(choices) > 40
    assert sorted(names) == sorted(map(str, [*code, *choices]))


@pytest.mark.full
def test_a_wheel_works_in_an_empty_folder(programs: Path, tmp_path: Path) -> None:
    """A run by the module, and the same by the script, which finds its record."""
    where = "import bench.study.sweep.library as c; print(c.__file__, c.CONF)"
    code, conf = done(programs / "python", "-c", where, folder=tmp_path).split()
    assert {Path(code).is_relative_to(programs.parent), Path(conf).is_relative_to(programs.parent)} == {True}
    assert "accuracy" in done(programs / "python", "-m", "bench", *RUN, folder=tmp_path)
    (record,) = tmp_path.glob("runs/*/record.json")
    written = record.read_bytes()
    assert "accuracy" in done(programs / "staleness-bench", *RUN, folder=tmp_path)
    assert record.read_bytes() == written
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
