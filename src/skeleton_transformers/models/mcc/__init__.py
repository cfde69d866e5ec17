"""MCC: pre-training of any encoder by the consistency and the continuity of motion."""
