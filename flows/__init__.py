"""What runs, in which order: the flows of Prefect and their deployments.

Folders, uppermost first: cli, recipes.
"""
