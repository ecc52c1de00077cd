"""The files that set a machine up: complete, and free of anything about the machine that wrote them."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PEERS = (ROOT / "requirements-peers.txt").read_text(encoding="utf-8")


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower().replace("_", "-")


def _pins(text: str) -> list[str]:
    return [line for line in text.splitlines() if re.match(r"[a-z0-9]", line)]


@pytest.mark.parametrize("text", [LOCK, PEERS], ids=["lock", "peers"])
def test_a_lock_names_no_index_host_or_path(text):
    assert not re.search(r"://|--(extra-)?index|--find-links|(^|\s)/|file:", text)
    assert not re.search(r"\w+\.(org|com|net|example|local)\b", text)


def test_every_package_of_the_lock_is_pinned_with_hashes():
    blocks = re.split(r"\n(?=[a-z0-9])", LOCK)[1:]
    assert len(blocks) > 50
    assert all(re.match(r"[a-z0-9._-]+==\S+", block) and "--hash=sha256:" in block for block in blocks)


def test_the_lock_covers_what_the_project_asks_for():
    wanted = PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["dev"]
    wanted += PROJECT["build-system"]["requires"]
    assert {_name(item) for item in wanted} <= {_name(pin) for pin in _pins(LOCK)}


def test_the_peers_file_covers_the_peers_and_repeats_nothing_of_the_lock():
    wanted = {_name(item) for item in PROJECT["project"]["optional-dependencies"]["peers"]}
    pinned = {_name(pin) for pin in _pins(PEERS)}
    assert wanted <= pinned
    assert not pinned & {_name(pin) for pin in _pins(LOCK)}


def test_every_package_of_the_tree_is_known_to_the_tools():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    inner = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for package in packages
        for path in (ROOT / package).rglob("*/__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == (packages - {"benchmarks"}) | inner
    assert set(PROJECT["tool"]["importlinter"]["root_packages"]) == packages
    assert set(PROJECT["tool"]["mypy"]["files"]) == packages | {"main.py"}


def test_the_lock_needs_no_newer_python_than_the_project():
    assert PROJECT["project"]["requires-python"] == ">=3.11"
    assert "python_version < " not in LOCK  # uv writes python_full_version; anything else was edited by hand


def _make(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", "-f", str(ROOT / "Makefile"), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_make_alone_explains_every_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert targets is not None
    shown = _make().stdout
    assert all(f"make {target} " in shown for target in targets[1].split())


@pytest.mark.parametrize(
    ("version", "shown"),
    [('test "$1" = -V && echo Python 3.9.2; exit 1', "Python 3.9.2"), ("exit 127", "missing")],
)
def test_an_old_or_missing_python_is_one_clear_line(tmp_path, version, shown):
    python = tmp_path / "python3"
    python.write_text(f"#!/bin/sh\n{version}\n")
    python.chmod(0o755)
    done = _make("setup", f"PYTHON={python}", folder=tmp_path)
    assert done.returncode != 0
    first = done.stderr.splitlines()[0]
    assert first == (
        f"make setup: needs Python 3.11 or newer, {python} is {shown};"
        " name another: make PYTHON=/path/to/python3.12"
    )
    assert not (tmp_path / ".venv").exists()


def test_importing_config_loads_nothing_heavy():
    code = "import sys, config, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"numpy", "numba", "pandas", "engine", "brokers", "asyncio", "zoneinfo", "difflib"}
    assert not heavy & set(json.loads(done.stdout))


def test_the_installed_command_is_the_one_of_main():
    (place,) = PROJECT["project"]["scripts"].values()
    module, _, name = place.partition(":")
    assert f"from {module} import {name}\n" in (ROOT / "main.py").read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", f"from {module} import {name}; raise SystemExit({name}())", "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "monitor" in done.stdout
