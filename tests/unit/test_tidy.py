"""The tidy test: rules about the repository that no linter checks."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
SIZED_FOLDERS = ("engine", "operator", "dev", "bench", "tests")
MAPPED_FOLDERS = (
    "",
    "engine/flowmachine",
    "engine/flowmachine/adapters/kafka",
    "engine/flowmachine/diagram",
    "operator/flowmachine_operator",
)
MAPPED_PATHS_MIN = 60
# Looked through when this is not a git work tree, for example an unpacked archive.
GENERATED_FOLDERS = {".git", ".venv", ".hypothesis", "__pycache__", "build", "dist", "htmlcov", "node_modules"}

# Written as patterns that do not match themselves.
REGISTRY_HOST = re.compile(
    r"""
    \b(?: pypi\.org | pythonhosted\.org | npmjs\.(?:org|com) | yarnpkg\.com | crates\.io | rubygems\.org
        | (?:proxy|sum)\.golang\.org | goproxy\.(?:io|cn) | repo1?\.maven(?:\.apache)?\.org | central\.sonatype\.com
        | (?:deb|ftp|security|snapshot)\.debian\.org | (?:archive|ports)\.ubuntu\.com )
    """,
    re.VERBOSE,
)
HOME_PATH = re.compile(r"(?<![\w.}~*-])/(?:(?:home|Users)/[a-z]\w*|roo[t]/[\w.]|work/(?:main|shared)\b)")
WRONG_INSTALL = re.compile(
    r"\b(?:pipx?|uv)\b[^\n`]*\b(?:install|add)\b[^\n`]*[\s\"']flowmachine(?![\w-])", re.IGNORECASE
)
MARKDOWN_LINK = re.compile(
    r"""
    (?<!\\)\]\( \s* <?([^)\s>]+)>? (?:\s+"[^"]*")? \s*\)   # [text](target "title")
    | ^\s* \[[^\]]+\]: \s+ (\S+)                            # [label]: target
    | (?:src|href)="([^"]+)"                               # <img src="target">
    """,
    re.VERBOSE | re.MULTILINE,
)
CODE_BLOCK = re.compile(r"^\s*(```+|~~~+).*?^\s*\1|`[^`\n]*`", re.MULTILINE | re.DOTALL)
CODE_FENCE = re.compile(r"^\s*(```+|~~~+).*?^\s*\1", re.MULTILINE | re.DOTALL)
MAKE_TARGET = re.compile(r"`make ([a-z][a-z0-9-]*)|^\s*(?:\$ )?make ([a-z][a-z0-9-]*)\b", re.MULTILINE)

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def repository_files() -> list[Path]:
    """Return what git holds or would add."""
    if (ROOT / ".git").exists():
        listing = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]
    everything = (path for path in ROOT.rglob("*") if path.is_file())
    return [path for path in everything if not GENERATED_FOLDERS & set(path.relative_to(ROOT).parts)]


FILES = repository_files()


def files_ending(*suffixes: str) -> list[Path]:
    return [path for path in FILES if path.suffix in suffixes]


def texts() -> Iterator[tuple[Path, str]]:
    for path in FILES:
        try:
            yield path, path.read_text("utf-8")
        except UnicodeDecodeError:
            continue


def lines_that_match(pattern: re.Pattern[str], path: Path, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), start=1):
        if pattern.search(line):
            yield f"{path.relative_to(ROOT)}:{number}: {line.strip()[:160]}"


def sized_modules() -> list[Path]:
    return [path for path in files_ending(".py") if path.relative_to(ROOT).parts[0] in SIZED_FOLDERS]


def test_modules_are_short() -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines()) for path in sized_modules()}
    assert {name: size for name, size in sizes.items() if size > MODULE_LINES_MAX} == {}


def test_functions_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has {lines} lines"
        for path in sized_modules()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


def test_operator_folder_is_not_a_package() -> None:
    assert not (ROOT / "operator/__init__.py").exists(), "it would hide Python's own module `operator`"


def test_documents_name_the_right_distribution() -> None:
    """`flowmachine` alone is somebody else's package."""
    assert [hit for path, text in texts() for hit in lines_that_match(WRONG_INSTALL, path, text)] == []


def headings_of(document: Path) -> set[str]:
    """What a link may name behind `#`, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.*)$", CODE_FENCE.sub("", document.read_text("utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def leads_somewhere(document: Path, target: str) -> bool:
    name, _, heading = target.partition("#")
    file = document.parent / name.partition("?")[0] if name else document
    return file.exists() and (not heading or file.suffix != ".md" or heading in headings_of(file))


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in files_ending(".md")
        for found in MARKDOWN_LINK.findall(CODE_BLOCK.sub("", path.read_text("utf-8")))
        if (target := next(filter(None, found)))
        and not re.match(r"[a-z][a-z0-9+.-]*:", target)
        and not leads_somewhere(path, target)
    ]
    assert broken == []


def test_map_of_modules_names_files_that_exist() -> None:
    """`docs/architecture.md` says where things are: each path below one of the folders that its readers know of."""
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    table = text[text.index("## Where things are") : text.index("## Known weaknesses")]
    named = set(re.findall(r"`([\w.-]+/[\w./-]*|\w+\.py)`", table))
    folders = [ROOT / folder for folder in MAPPED_FOLDERS]
    assert len(named) > MAPPED_PATHS_MIN
    assert {path for path in named if not any((folder / path).exists() for folder in folders)} == set()


def test_documents_name_make_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z][a-z0-9-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {
        (str(path.relative_to(ROOT)), next(filter(None, found)))
        for path in files_ending(".md")
        for found in MAKE_TARGET.findall(path.read_text("utf-8"))
    }
    assert {(file, target) for file, target in named if target not in targets} == set()


def test_no_package_registry_is_named() -> None:
    assert [hit for path, text in texts() for hit in lines_that_match(REGISTRY_HOST, path, text)] == []


def test_no_path_of_one_machine_is_named() -> None:
    assert [hit for path, text in texts() for hit in lines_that_match(HOME_PATH, path, text)] == []


def test_lock_files_hold_no_address() -> None:
    locks = ROOT.joinpath("requirements").glob("*.txt")
    assert [hit for lock in locks for hit in lines_that_match(re.compile("://"), lock, lock.read_text("utf-8"))] == []


def is_pinned(requirement: Requirement, pins: dict[str, str]) -> bool:
    pin = pins.get(canonicalize_name(requirement.name))
    return pin is not None and requirement.specifier.contains(pin)


@pytest.mark.parametrize("lock", ["build", "runtime", "image", "dev"])
def test_lock_file_fits_pyproject(lock: str) -> None:
    """`make lock` was run after the last change of a dependency."""
    project, groups = PYPROJECT["project"], PYPROJECT["dependency-groups"]
    wanted: list[str] = groups["build"] if lock == "build" else list(project["dependencies"])
    if lock in {"image", "dev"}:
        wanted += [name for extra in project["optional-dependencies"].values() for name in extra]
    if lock == "dev":
        wanted += [line for group in groups.values() for line in group if isinstance(line, str)]
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / f"requirements/{lock}.txt").read_text("utf-8"), re.MULTILINE))
    unmet = [line for line in wanted if not is_pinned(Requirement(line), pins)]
    assert unmet == [], "run `make lock`"


def test_console_scripts_exist() -> None:
    for script in PYPROJECT["project"]["scripts"].values():
        module, function = script.split(":")
        names = {
            node.name
            for folder in ("engine", "operator")
            if (path := ROOT / folder / f"{module.replace('.', '/')}.py").is_file()
            for node in ast.parse(path.read_text("utf-8")).body
            if isinstance(node, ast.FunctionDef)
        }
        assert function in names, f"{script} is named in pyproject.toml and does not exist"


def test_markers_are_declared() -> None:
    declared = {line.split(":")[0] for line in PYPROJECT["tool"]["pytest"]["ini_options"]["markers"]}
    declared |= {"asyncio", "filterwarnings", "parametrize", "skip", "skipif", "timeout", "usefixtures", "xfail"}
    used = {
        (str(path.relative_to(ROOT)), marker)
        for path in files_ending(".py")
        if path.relative_to(ROOT).parts[0] == "tests"
        for marker in re.findall(r"pytest\.mark\.(\w+)", path.read_text("utf-8"))
    }
    assert {(file, marker) for file, marker in used if marker not in declared} == set()
