"""Teaching the demo teacher: frames of an export and the sentences of their reports, matched by a small CLIP."""
