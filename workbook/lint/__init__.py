"""Answers the mistakes that can be read off the learner's text, before anything is compiled."""
