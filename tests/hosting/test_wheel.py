"""The wheel, installed where there is no repository: commands, demo and site."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def build(kind: str, source: Path, out: Path) -> Path:
    """A wheel or sdist of a source tree, by the build backend alone."""
    code = f"from setuptools import build_meta; print(build_meta.build_{kind}({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return out / done.stdout.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sdist, which was built from a clone: neither needs what only the other holds."""
    folder = tmp_path_factory.mktemp("build")
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder / "clone")], check=True)
    sdist = build("sdist", folder / "clone", folder)
    shutil.unpack_archive(sdist, folder)
    return build("wheel", folder / sdist.name.removesuffix(".tar.gz"), folder)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a new environment with the wheel; what it depends on is taken from this one."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    packages = next(folder.glob("lib/python*/site-packages"))
    here = Path(pytest.__file__).parents[1]
    (packages / "dependencies.pth").write_text(f"{here}\n")
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*command, "--no-deps", "--no-index", str(wheel)], check=True, capture_output=True)
    return folder / "bin"


def run(installed: Path, folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run(
        [installed / "ucbench", *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.slow
def test_the_package_that_runs_is_the_installed_one(installed: Path, tmp_path: Path) -> None:
    code = "import ucbench; print(ucbench.__file__)"
    done = subprocess.run(
        [installed / "python", "-c", code], cwd=tmp_path, env={}, capture_output=True, text=True
    )
    assert str(installed.parent) in done.stdout
    assert "as pinned" in run(installed, tmp_path, "doctor", "--offline").stdout


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_demo_works_without_the_repository(installed: Path, tmp_path: Path) -> None:
    run(installed, tmp_path, "demo", "--no-site")
    shown = run(installed, tmp_path, "board", "show", "runs").stdout
    assert "tiny-vlm" in shown
    assert (tmp_path / "aligned" / "tiny-vlm-ppo-seed0" / "adapter_model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_site_comes_along(installed: Path, tmp_path: Path) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [installed / "ucbench", "site", "--port", str(port), "--host", "127.0.0.1"], cwd=tmp_path,
            env=environment, stdout=log, stderr=log,
        )  # fmt: skip
    try:
        board = answer(f"http://127.0.0.1:{port}/api/board", process, tmp_path / "log")
        assert "embedded:tiny-vlm" in board
        assert "Streamlit" in answer(f"http://127.0.0.1:{port}/", process, tmp_path / "log")
    finally:
        process.terminate()
        process.wait(30)


def answer(url: str, process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + 200
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return str(response.read().decode())
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(log.read_text())
