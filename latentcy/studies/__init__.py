"""Where our constants come from: studies that anyone can run again."""
