"""The root of the errors a user can mend. The command line prints them as one line, exit code 2."""


class UserError(ValueError):
    """A fault in input, recipe or environment: what, where, and what to do, on one line."""


class ContractError(UserError):
    """An artefact or a table does not keep its contract."""
