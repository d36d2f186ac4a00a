"""Remember and show: records and the closing table. Imports without torch."""
