"""Runs the Python blocks of a page in order and writes below each what it printed: a notebook as a text file.

    python -m docs_reference.run_page docs/python.md

The page's blocks share one namespace. As in a notebook, the value of a block's last expression is printed, too.
"""

import ast
import contextlib
import io
import re
import sys
from pathlib import Path
from typing import Any

_BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n.*?```\n)?", re.DOTALL)


def with_outputs(page: str) -> str:
    """The page with the outputs of its blocks. Raises what a block raises."""
    namespace: dict[str, Any] = {"__name__": "__page__"}

    def run(block: re.Match[str]) -> str:
        printed = _run(block["code"], namespace)
        return f"```python\n{block['code']}```\n" + (f"\n```text\n{printed}```\n" if printed else "")

    return _BLOCK.sub(run, page)


def _run(code: str, namespace: dict[str, Any]) -> str:
    """What the code prints, and its last expression's value where that is not None."""
    tree = ast.parse(code)
    last = tree.body[-1] if tree.body else None
    if isinstance(last, ast.Expr):
        tree.body.pop()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, "<page>", "exec"), namespace)  # a page of this repository
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<page>", "eval"), namespace)
            if value is not None:
                print(value)  # noqa: T201
    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(with_outputs(path.read_text(encoding="utf-8")), encoding="utf-8")
