"""`scripts/bench NAME [arguments]`: the bench of that name, or a list of them."""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path

HERE = Path(__file__).parent


def names() -> list[str]:
    return sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))


def about(name: str) -> str:
    """The first sentence of a bench, without importing it."""
    text = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: scripts/bench NAME [arguments]\n")
        for name in names():
            print(f"  {name:<12} {about(name)}")
        return 0 if argv else 2
    name, *rest = argv
    if name not in names():
        print(f"bench: no bench {name!r}; there are: {', '.join(names())}", file=sys.stderr)
        return 2
    sys.path.insert(0, str(HERE))
    return importlib.import_module(name).main(rest) or 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
