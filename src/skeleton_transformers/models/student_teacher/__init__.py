"""Student-teacher: the features of a slow copy, predicted at masked joints, with a segment-joint transformer."""
