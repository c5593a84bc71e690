"""Trains what a spec names, stage by stage: `restore_hub.train.run.run`."""
