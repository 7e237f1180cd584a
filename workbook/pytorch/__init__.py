"""Ops that PyTorch calls. PyTorch may not be installed: `calls` says so."""
