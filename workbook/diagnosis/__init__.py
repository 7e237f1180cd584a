"""Says what went wrong, and where: errors of the tools, and launches that ran and were wrong."""
