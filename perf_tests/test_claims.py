"""Not a promise of ours: each claim of the published page, confirmed or refuted by this run."""


def test_claim(claim):
    """Measured and shown with its figures; a refuted claim is a finding and fails nothing."""
    assert claim.status in ("confirmed", "refuted")
