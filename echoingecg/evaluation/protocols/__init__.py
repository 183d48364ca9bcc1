"""How a question is put to the student: zero-shot, probe, few-shot, regression, retrieval."""
