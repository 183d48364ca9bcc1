"""Stage student (reads ecg, teacher, pairs): a probabilistic ECG encoder is trained against the frozen teacher.

Folders, uppermost first: released, data, encoders, model.
"""

# Raised by hand when the same inputs would give other weights.
CODE_VERSION = 4
