"""Simulated echo studies: anatomy in motion, views, speckle, the screen, DICOM files."""
