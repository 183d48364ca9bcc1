"""ECG encoders of others: a file and a class for each kind, named by `student.encoder`; how each gets its input."""
