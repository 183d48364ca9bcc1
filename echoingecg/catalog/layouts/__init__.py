"""How each kind of export is read: MIMIC-IV, public data sets, plain tables."""
