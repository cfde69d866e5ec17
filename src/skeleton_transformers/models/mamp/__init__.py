"""MAMP: masked motion prediction with a segment-joint transformer."""
