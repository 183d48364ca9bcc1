"""A paired hospital export in the MIMIC-IV layout, of patients whose hearts are known. Not for patients.

Folders, uppermost first: echo, ecg, population.
"""

CODE_VERSION = 3  # raise by hand when the same settings give other bytes
