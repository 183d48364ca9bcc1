"""ECGs as XML: GE MUSE and CardioSoft, Philips, Mortara, HL7 aECG."""
