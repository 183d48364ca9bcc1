"""Stage catalog: which ECGs, echo clips, reports and measurements an export holds; what was refused and why."""

from typing import Final

CODE_VERSION = 3  # raise when the same export and key give other tables
