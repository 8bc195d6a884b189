"""The benchmark: what a CT costs, stage by stage, and what each way to save is worth."""
