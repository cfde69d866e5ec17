"""What goes with a model to the Hub."""
