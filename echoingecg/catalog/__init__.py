"""Stage catalog (reads the export): which ECGs, echo clips, reports, measurements there are; what was refused and why.

Folders, uppermost first: layouts.
"""

CODE_VERSION = 7  # raise when the same export and key give other tables
