"""The papers' tables: a plan says what to train and which printed numbers stand beside it."""
