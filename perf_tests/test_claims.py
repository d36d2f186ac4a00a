"""Not a promise of ours: what the published page claims, confirmed or refuted by this run."""


def test_claims_of_the_published_page(claims):
    """Shown with the figures; a refuted claim is a finding and fails nothing."""
    claims()
