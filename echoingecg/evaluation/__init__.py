"""Stage evaluation (reads ecg, teacher, pairs, student): how well the student reads echo findings, and how sure it is.

Folders, uppermost first: report, tables, protocols, decision, metrics, data.
"""

CODE_VERSION = 12  # raised by hand when results change
