"""Evaluation: how well the student reads echo findings off an ECG, and how sure it is."""

from typing import Final

CODE_VERSION = 6  # raised by hand when results change
