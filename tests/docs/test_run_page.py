"""Pages whose outputs are made by a command."""

import pytest

from docs_reference.run_page import with_outputs

PAGE = """Text.

```python
a = 2
print("x")
a + 1
```

```text
old
```

More.

```python
b = a * 2
```
"""


def test_outputs_stand_below_their_blocks_and_replace_old_ones() -> None:
    made = with_outputs(PAGE)
    assert made == PAGE.replace("old\n", "x\n3\n")
    assert with_outputs(made) == made


def test_a_block_that_fails_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        with_outputs("```python\n1 / 0\n```\n")
