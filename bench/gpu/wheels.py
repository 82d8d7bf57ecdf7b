"""What a machine without a network lacks to run this beside its own torch: a folder of wheels.

    python -m bench.gpu.wheels 3.12 2.11 .whl

takes the versions of constraints.txt for Python 3.12; what torch and torchvision need is there with
them. Of Ray all is left out that a search does not use, which is more than half of its size. On
the machine, in a copy of this repository:

    python3 -m pip install --no-index --no-deps --no-compile --target site .whl/*.whl
    PYTHONPATH=$PWD:$PWD/site python3 -m bench.gpu
"""

import argparse
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
TESTS = ("pytest", "hypothesis", "beartype")
"""What the tests need beside the package's own requirements."""
UNUSED = re.compile(r"^ray/(jars|rllib|llm)/|^ray/dashboard/client/build/.*\.map$")
"""Files of Ray's wheel: Java's, those of reinforcement learning and of language models, and maps
for who debugs the dashboard."""
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(5, 40)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux1_x86_64"]


def main() -> None:
    arguments = build_parser().parse_args()
    check_torch(arguments.torch)
    there = read_names(arguments.there) if arguments.there else {}
    there |= {canonicalize_name(name): "" for name in arguments.without}
    names = needed(arguments.python, there)
    pins = read_names(ROOT / "constraints.txt")
    arguments.folder.mkdir(parents=True)
    download([f"{name}=={pins[name]}" for name in names], arguments.python, arguments.folder)
    for ray in arguments.folder.glob("ray-*.whl"):
        slim(ray)
    wheels = list(arguments.folder.glob("*.whl"))
    size = sum(wheel.stat().st_size for wheel in wheels)
    print(f"{len(wheels)} wheels, {size / 1e6:.0f} MB, in {arguments.folder}")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu.wheels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("python", metavar="PYTHON", help="that machine's, such as 3.12")
    parser.add_argument("torch", metavar="TORCH", help="that machine's, such as 2.11")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="to make")
    parser.add_argument(
        "--there", type=Path, metavar="FILE", help="that machine's `pip freeze`: not taken again"
    )
    parser.add_argument(
        "--without", nargs="*", default=[], metavar="NAME", help="packages to do without"
    )
    return parser


def check_torch(version: str) -> None:
    """Ends the command where the package cannot run with that torch."""
    wanted = next(r for r in own_requirements() if r.name == "torch")
    if version not in wanted.specifier:
        sys.exit(f"error: TORCH: must be {wanted.specifier}, but got {version}; update it there")


def own_requirements() -> list[Requirement]:
    """Of the package, as pyproject.toml has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [Requirement(line) for line in project["dependencies"]]


def read_names(path: Path) -> dict[str, str]:
    """Versions by name, of lines such as `numpy==2.4.6`; empty where a line has none."""
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition("#")[0].partition("==")
        if name.strip():
            found[canonicalize_name(name.strip())] = version.strip()
    return found


def needed(python: str, there: Mapping[str, str]) -> list[str]:
    """Names of what has to be taken along, by what the packages installed here say they need."""
    own = own_requirements()
    with_torch: dict[str, list[Requirement]] = {}
    collect([r for r in own if r.name in ("torch", "torchvision")], python, {}, with_torch)
    found: dict[str, list[Requirement]] = {}
    there = dict.fromkeys(with_torch, "") | dict(there)
    collect([*own, *map(Requirement, TESTS)], python, there, found)
    return sorted(found)


def collect(
    wanted: Iterable[Requirement],
    python: str,
    there: Mapping[str, str],
    found: dict[str, list[Requirement]],
) -> None:
    """Add what is wanted and not there, and all that this needs in turn, to what was found."""
    for requirement in wanted:
        name = canonicalize_name(requirement.name)
        if requirement not in found.get(name, []) and not suffices(requirement, there.get(name)):
            found.setdefault(name, []).append(requirement)
            collect(needs_of(requirement, python), python, there, found)


def suffices(requirement: Requirement, version: str | None) -> bool:
    """Whether a version that is there, None for none and empty for any, is what is wanted."""
    return version is not None and (not version or version in requirement.specifier)


def needs_of(requirement: Requirement, python: str) -> list[Requirement]:
    """What a package and those of its extras that are wanted need with that Python."""
    try:
        lines = requires(requirement.name) or []
    except PackageNotFoundError:
        sys.exit(f"error: {requirement.name}: must be installed here, but is not; install it")
    full = {"python_version": python, "python_full_version": f"{python}.0"}
    places = [full | {"extra": extra} for extra in ("", *requirement.extras)]
    return [
        need
        for need in map(Requirement, lines)
        if need.marker is None or any(need.marker.evaluate(place) for place in places)
    ]


def download(pins: list[str], python: str, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
    command += [part for platform in PLATFORMS for part in ("--platform", platform)]
    subprocess.run([*command, "--dest", str(folder), *pins], check=True)


def slim(wheel: Path) -> None:
    """Leave out what is not used, and its lines of the list of files."""
    slimmer = wheel.with_suffix(".tmp")
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(slimmer, "w") as new:
        for info in old.infolist():
            if UNUSED.match(info.filename):
                continue
            content = old.read(info)
            if info.filename.endswith(".dist-info/RECORD"):
                lines = content.decode().splitlines(keepends=True)
                used = (line for line in lines if not UNUSED.match(line.partition(",")[0]))
                content = "".join(used).encode()
            kept = zipfile.ZipInfo(info.filename, info.date_time)
            kept.external_attr = info.external_attr
            new.writestr(kept, content, zipfile.ZIP_DEFLATED, 9)
    slimmer.replace(wheel)


if __name__ == "__main__":
    main()
