"""The six stages as Prefect tasks: read, check, call the science, check, publish. No logic of their own.

Folders, uppermost first: operations, ingest, pools, store, base.
"""
