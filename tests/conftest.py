"""How the rules that hold for all inputs are tried.

`make test` says the same for the same code, so that a failure is news of a change; `make
explore` walks at random, and what it finds becomes a test of its own.
"""

import os

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("exploring", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))
