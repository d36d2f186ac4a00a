"""When the numbers of a history changed. Imports without torch."""
