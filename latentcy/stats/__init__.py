"""Statistics as pure functions of numbers. Imports without torch."""
