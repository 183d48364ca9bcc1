"""Frozen networks that can be a teacher: a file and a class for each kind, named by the prefix of `teacher.model`."""
