"""Print the lowest version of every requirement that pyproject.toml allows, as constraints for pip.

python scripts/lowest.py > lowest.txt
"""

import re
import tomllib
from pathlib import Path


def main():
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    for requirement in sorted({each for each in wanted if not each.startswith(project["name"])}):
        name, lowest = re.match(r"([\w-]+)(?:\[\w+\])?>=([\d.]+)", requirement).groups()
        print(f"{name}=={lowest}")


if __name__ == "__main__":
    main()
