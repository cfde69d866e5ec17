"""Hi-TRS: hierarchical transformers over the joints of a frame, the frames of a clip and the clips of a sequence."""
