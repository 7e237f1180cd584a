"""pyproject.toml, pixi.toml and the puzzle files say the same thing everywhere, and nothing they should not."""

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata, resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PIXI = tomllib.loads((ROOT / "pixi.toml").read_text())
PUZZLES = tomllib.loads((ROOT / "puzzles.toml").read_text())
DIRECT = [Requirement(text) for text in PYPROJECT["project"]["dependencies"]]
TORCH = [Requirement(text) for text in PYPROJECT["project"]["optional-dependencies"]["torch"]]
DEV = [Requirement(text) for text in PYPROJECT["dependency-groups"]["dev"]]
TRANSITIVE = [Requirement(text) for text in PYPROJECT["tool"]["uv"]["constraint-dependencies"]]


def pins(requirements: list[Requirement]) -> dict[str, str]:
    return {canonicalize_name(r.name): str(r.specifier) for r in requirements}


# pixi.toml ------------------------------------------------------------------------------------------------------------


def strict(schema: Any) -> Any:
    """The schema with unknown keys refused in every table that it describes."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(value) for key, value in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        schema["additionalProperties"] = False
    return schema


def pixi_errors(manifest: dict[str, Any]) -> list[str]:
    """What is wrong with a pixi manifest: against pixi's schema, and in what its names refer to."""
    text = (resources.files("validate_pyproject_schema_store") / "resources" / "pixi.schema.json").read_text()
    validator = jsonschema.Draft7Validator(strict(json.loads(text)))
    errors = [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]

    tables = [manifest, *manifest.get("feature", {}).values()]
    if any("system-requirements" in table for table in tables):
        errors.append("[system-requirements] is deprecated: declare it in workspace.platforms")

    platforms = [p if isinstance(p, str) else p.get("name") for p in manifest["workspace"]["platforms"]]
    if len(set(platforms)) != len(platforms):
        errors.append(f"a platform name is there twice: {platforms}")
    for feature, table in manifest.get("feature", {}).items():
        for platform in set(table.get("platforms", ())) - set(platforms):
            errors.append(f"feature {feature} names the platform {platform}, which the workspace does not have")

    used = set()
    for name, environment in manifest.get("environments", {}).items():
        features = environment if isinstance(environment, list) else environment.get("features", [])
        used |= set(features)
        if not re.fullmatch(r"[a-z0-9-]+", name):
            errors.append(f"pixi accepts no environment of the name {name!r}")
        for feature in set(features) - set(manifest.get("feature", {})):
            errors.append(f"environment {name} names the feature {feature}, which does not exist")
    for feature in set(manifest.get("feature", {})) - used:
        errors.append(f"feature {feature} is in no environment")

    tasks = {name: task for table in tables for name, task in table.get("tasks", {}).items()}
    for name, task in tasks.items():
        if re.search(r"[\s$]", name):
            errors.append(f"pixi accepts no task of the name {name!r}")
        needed = task.get("depends-on", []) if isinstance(task, dict) else task if isinstance(task, list) else []
        for other in needed if isinstance(needed, list) else [needed]:
            other = other["task"] if isinstance(other, dict) else other
            if other not in tasks:
                errors.append(f"task {name} depends on {other}, which does not exist")
    return errors


def test_pixi_manifest_is_valid():
    assert pixi_errors(PIXI) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("[environments]", "[enviroments]", "enviroments"),
        ("[feature.amd]\nplatforms", "[feature.amd]\nplatform", "'platform' was unexpected"),
        ("cuda = ", "cuda-version = ", "workspace.platforms[1]"),
        ("channels = [", "chanels = [", "chanels"),
        ("editable = true", "editible = true", "editible"),
        ('features = ["amd"]', 'features = ["amb"]', "feature amb, which does not exist"),
        ('platforms = ["linux-x86-64"]', 'platforms = ["linux-x68-64"]', "linux-x68-64"),
        ('cmd = "workbook test"', 'cmd = "workbook test", depends-on = ["lint"]', "lint, which does not exist"),
        ("[tasks]", '[tasks]\n"my lab" = "workbook lab"', "no task of the name 'my lab'"),
        ("[environments]", '[environments]\nMy_Env = ["amd"]', "no environment of the name 'My_Env'"),
        ("[feature.amd]", '[feature.amd.system-requirements]\ncuda = "12"\n[feature.amd]', "deprecated"),
    ],
)
def test_a_mistake_in_the_pixi_manifest_is_found(old: str, new: str, complaint: str):
    text = (ROOT / "pixi.toml").read_text()
    assert old in text
    assert any(complaint in error for error in pixi_errors(tomllib.loads(text.replace(old, new, 1))))


def test_pixi_has_the_promised_environments_and_tasks():
    assert {"default", "nvidia", "amd", "apple"} <= set(PIXI["environments"])
    assert {"lab", "test", *PUZZLES} <= set(PIXI["tasks"])


@pytest.mark.parametrize("task", PIXI["tasks"])
def test_pixi_task_is_a_workbook_command(task: str):
    program, command, *arguments = PIXI["tasks"][task]["cmd"].split()
    assert program in PYPROJECT["project"]["scripts"]
    help_text = subprocess.run([Path(sys.executable).with_name(program), command, "--help"], capture_output=True)
    assert help_text.returncode == 0, f"`{program} {command}` is not a command: {help_text.stderr.decode()}"
    if command == "run":
        assert (ROOT / "problems" / arguments[0]).is_dir()


def test_pixi_pins_are_those_of_pyproject():
    dependencies = dict(PIXI["pypi-dependencies"])
    assert dependencies.pop("workbook") == {"path": ".", "editable": True}
    assert dependencies == pins(DEV)
    elsewhere = {
        name: table["pypi-dependencies"] for name, table in PIXI["feature"].items() if "pypi-dependencies" in table
    }
    assert elsewhere == {"torch": pins(TORCH)}


# pyproject.toml -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("requirement", DIRECT + DEV + TORCH + TRANSITIVE, ids=str)
def test_pin_is_exact(requirement: Requirement):
    assert re.fullmatch(r"==[^,*]+", str(requirement.specifier))


def test_build_requirements_are_pinned():
    assert all(re.fullmatch(r"[\w-]+==[\w.]+", text) for text in PYPROJECT["build-system"]["requires"])


def test_every_dependency_of_a_dependency_is_pinned():
    pinned = pins(DIRECT) | pins(DEV) | pins(TORCH) | pins(TRANSITIVE)
    missing, seen = set(), set()
    installed = DIRECT + DEV + (TORCH if find_spec("torch") else [])
    todo: list[tuple[str, frozenset[str]]] = [(r.name, frozenset(r.extras)) for r in installed if applies(r)]
    while todo:
        name, extras = todo.pop()
        if (canonicalize_name(name), extras) in seen:
            continue
        seen.add((canonicalize_name(name), extras))
        if canonicalize_name(name) not in pinned:
            missing.add(f"{name}=={metadata.version(name)}")
        for needed in map(Requirement, metadata.requires(name) or ()):
            if applies(needed, extras):
                todo.append((needed.name, frozenset(needed.extras)))
    assert not missing, f"add to constraint-dependencies: {sorted(missing)}"
    assert len(seen) > len(DIRECT + DEV)


def applies(requirement: Requirement, extras: frozenset[str] = frozenset()) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in extras | {""})


def test_nothing_is_pinned_twice():
    names = [canonicalize_name(r.name) for r in DIRECT + DEV + TORCH + TRANSITIVE]
    assert sorted(names) == sorted(set(names))


# The repository -------------------------------------------------------------------------------------------------------


def repository_files() -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in sorted(set(listing.split("\0")) - {""}) if (ROOT / name).is_file()]


REGISTRIES = [  # written in two halves, since this file is searched too
    ("pypi", "org"),
    ("pythonhosted", "org"),
    ("registry.npmjs", "org"),
    ("registry.yarnpkg", "com"),
    ("deb.debian", "org"),
    ("archive.ubuntu", "com"),
    ("conda.anaconda", "org"),
    ("repo.anaconda", "com"),
]


def test_no_file_holds_the_address_of_a_package_registry():
    address = re.compile("|".join(re.escape(".".join(halves)) for halves in REGISTRIES).encode())
    assert [str(path) for path in repository_files() if address.search(path.read_bytes())] == []


def test_no_file_holds_a_path_of_somebodys_machine():
    homes = [rb"/(?:home|Users)/[A-Za-z][\w.-]*/", rb"/root/"]
    if len(ROOT.parts) > 2:  # not for a checkout in, say, /src
        homes.append(re.escape(str(ROOT).encode()))
    path_of_a_person = re.compile(rb"(?<![\w.*}])(?:" + b"|".join(homes) + rb")")
    here = Path(__file__).resolve()
    assert [str(p) for p in repository_files() if p != here and path_of_a_person.search(p.read_bytes())] == []


def test_ci_runs_the_test_command_of_the_readme():
    command = (ROOT / ".ci" / "run").read_text().strip().splitlines()[-1]
    assert command.endswith("uv run workbook test")
    assert command in (ROOT / "README.md").read_text()


# Puzzles --------------------------------------------------------------------------------------------------------------

BEGIN, END = "# >>> your code", "# <<< your code"


def split_at_region(path: Path) -> tuple[str, str, str]:
    text = path.read_text()
    assert text.count(BEGIN) == text.count(END) == 1, f"{path}: one marked region, no more and no fewer"
    before, rest = text.split(BEGIN)
    region, after = rest.split(END)
    return before, region, after


@pytest.mark.parametrize("problem", sorted((ROOT / "problems").glob("*/op.mojo")), ids=lambda path: path.parent.name)
def test_problem_and_solution_differ_in_the_marked_region_alone(problem: Path):
    solution = ROOT / "solutions" / problem.parent.name / "op.mojo"
    before, todo, after = split_at_region(problem)
    solved_before, solved, solved_after = split_at_region(solution)
    assert (before, after) == (solved_before, solved_after)
    code = [line for line in todo.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert not code, "the problem is shipped with its region empty"
    assert "enqueue_function" in solved or "foreach" in solved


def test_softgpu_knows_nothing_of_the_workbook():
    for file in (ROOT / "softgpu").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) workbook\b", file.read_text(), re.MULTILINE), file
