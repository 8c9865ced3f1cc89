"""The wheel, built from the checkout and installed where the checkout cannot be imported."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from pipelines.cli import JOBS
from tests.support.command import Output
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow


# The types of the module `audiosieve`, which the build copies from it.
STUBS = "audiosieve-stubs/__init__.pyi"


def is_installed(path: Path) -> bool:
    """Whether a file of the checkout belongs in the wheel: it is a module at the top, or in a package that is not `tests`."""
    top = path.parts[0]
    if len(path.parts) == 1:
        return path.suffix == ".py" and top != "setup.py"
    return (ROOT / top / "__init__.py").is_file() and top != "tests"


def run(*words: object, cwd: Path) -> str:
    """Runs a program in a folder, with PATH, HOME and LANG as its environment, and returns what it prints."""
    environment = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def files() -> list[str]:
    """Paths of the files of the checkout, as git lists them: no build output, no caches."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("this is no git checkout")
    return [name for name in map(os.fsdecode, listed.stdout.split(b"\0")) if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(files: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a clean copy of the checkout."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
    target = tmp_path_factory.mktemp("wheel")
    run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"),
        *("--wheel-dir", target, copy),
        cwd=target,
    )
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new virtual environment that has the wheel, and the dependencies of the one that runs this test.

    Its `.pth` file makes the dependencies importable but does not process the `.pth` files beside them, one of which leads to
    the checkout.
    """
    place = tmp_path_factory.mktemp("venv")
    venv.create(place, symlinks=True)
    folders = sysconfig.get_paths(vars={"base": str(place), "platbase": str(place)}, scheme="venv")
    dependencies = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    Path(folders["purelib"], "dependencies.pth").write_text("\n".join(dependencies), encoding="utf-8")
    programs = Path(folders["scripts"])
    run(
        *(
            sys.executable,
            "-m",
            "pip",
            "--python",
            programs / "python",
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
        ),
        *("--ignore-installed", wheel),
        cwd=place,
    )
    return programs


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(files: list[str], wheel: Path) -> None:
    expected = {name for name in files if is_installed(Path(name))}
    assert {"model/py.typed", "pipelines/service/nginx.conf"} < expected
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert held == expected | {STUBS}
        sources = {name: ROOT / name for name in expected} | {STUBS: ROOT / "audiosieve.py"}
        assert [name for name in sorted(held) if archive.read(name) != sources[name].read_bytes()] == []


def test_the_installed_command_scores_the_samples(
    installed: Path, samples: Path, sample_run: Output, tmp_path: Path
) -> None:
    run(installed / "audiosieve", "score", "--input", samples, "--output", tmp_path / "out", cwd=tmp_path)
    assert Output(tmp_path / "out").scores == pytest.approx(sample_run.scores, abs=1e-3)


def test_every_installed_job_has_help_and_imports_nothing_from_the_checkout(installed: Path, tmp_path: Path) -> None:
    program = """
import contextlib, io, sys
from pipelines.cli import JOBS, main
for job in JOBS:
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        main([job, "--help"])
    print(job, "usage: audiosieve" in printed.getvalue())
ours = [module for name, module in sys.modules.items() if name.partition(".")[0] in ("model", "transforms", "pipelines")]
print(len(ours) > len(JOBS), [module for module in ours if not module.__file__.startswith(sys.prefix)])
"""
    lines = run(installed / "python", "-c", program, cwd=tmp_path).splitlines()
    assert lines == [*(f"{job} True" for job in JOBS), "True []"]


def test_a_type_checker_knows_the_types_of_the_installed_module(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(
        "import audiosieve\nreveal_type(audiosieve.score('a.flac').score)\n", encoding="utf-8"
    )
    mypy = (sys.executable, "-m", "mypy", "--ignore-missing-imports", "--follow-imports", "silent")
    printed = run(*mypy, "--python-executable", installed / "python", "user.py", cwd=tmp_path)
    assert 'Revealed type is "builtins.float"' in printed or 'Revealed type is "float"' in printed
