"""The contract between the floors: plain data, files and errors. Imports without torch."""
