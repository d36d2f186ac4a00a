"""Not a promise of ours: each claim of the published page, confirmed or refuted by this run.

There is nothing to assert: a refuted claim is a finding, and what cannot be judged here is skipped.
"""


def test_claim(claim):
    """Measured, and shown with its figures."""
