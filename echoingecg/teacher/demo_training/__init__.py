"""How the small demo teacher is trained on simulated echoes."""
