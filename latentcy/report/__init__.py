"""Records as texts and pages. Imports without torch."""
