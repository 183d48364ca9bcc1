"""The report, its figures and the model card, made from the tables alone."""
