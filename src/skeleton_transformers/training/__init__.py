"""What the training scripts share: recipes, optimisation and checkpoints."""
