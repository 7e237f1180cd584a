"""What a launch did, from its trace, and static pictures of it."""
