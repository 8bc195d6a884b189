"""Training: data sets, augmentation, losses, trainer. Never imported at run time."""
