"""The lowest versions of what pyproject.toml requires, as pip takes them."""

import tomllib
from pathlib import Path

project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text("utf-8"))
dependencies = project["project"]["dependencies"]
print(*(line.partition(",")[0].replace(">=", "==") for line in dependencies))
