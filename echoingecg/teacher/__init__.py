"""Stage teacher (reads catalog): a frozen teacher turns echo clips into frame embeddings and study Gaussians.

Folders, uppermost first: demo_training, networks, sector, decode.
"""

CODE_VERSION = 7  # raise by hand when the results of this stage change
