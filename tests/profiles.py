"""How many examples a property test takes: few in `make test`, all in `make verify`, thousands in `make faults`."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "default", deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
settings.register_profile("quick", settings.get_profile("default"), max_examples=5)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=1000)
settings.register_profile("faults", settings.get_profile("default"), max_examples=5000)


def load_profile() -> None:
    """Load the profile that ``HYPOTHESIS_PROFILE`` names."""
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def examples(count: int) -> int:
    """Scale a test's own number of examples to the profile: an eighth in `quick`, at least its own in longer ones."""
    profile = settings.get_current_profile_name()
    if profile == "quick":
        return max(2, count // 8)
    return count if profile == "default" else max(count, settings().max_examples)
