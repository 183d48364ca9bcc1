"""What is evaluated: labelled ECGs, the Gaussians of the student, models to compare with."""
