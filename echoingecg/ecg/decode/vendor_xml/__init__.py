"""ECGs as XML: GE MUSE and CardioSoft, Philips, HL7 aECG."""
