"""What notebooks call: cells of one line each, and what they show."""
