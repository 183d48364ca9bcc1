"""Stage `teacher`: echo clips become frame embeddings of a frozen teacher, and Gaussian study targets."""

from typing import Final

CODE_VERSION = 3  # raise by hand when the results of this stage change
