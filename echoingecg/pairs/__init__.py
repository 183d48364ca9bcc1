"""Stage `pairs`: which ECG belongs to which echo study, text and label, and the patient split."""

from typing import Final

CODE_VERSION = 1  # raise by hand when the results of this stage change
