"""Echo files to RGB frames: one module a file format."""
