"""Stage pairs (reads catalog, ecg, teacher): which ECG goes with which study, text and label; the patient split."""

CODE_VERSION = 4  # raise by hand when the results of this stage change
