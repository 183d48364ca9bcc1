"""Jobs of tests: their exports are simulated or public, whatever key their recipe has."""

from functools import partial

from flows import request

make_job = partial(request.make_job, public_data=True)
