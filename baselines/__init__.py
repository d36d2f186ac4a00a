"""What is held against: published tables, and images of cases that were known to be good."""
