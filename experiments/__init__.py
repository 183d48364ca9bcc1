"""The proof of distillation: what the student knows of echo findings, against controls, on simulated patients."""

VERSION = 2  # raised by hand when the same hospital and arm would give other results
STUDY_VERSION = 3  # likewise, of what is kept of studied arms alone
