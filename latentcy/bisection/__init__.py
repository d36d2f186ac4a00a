"""The commit at which a case's verdict turned."""
