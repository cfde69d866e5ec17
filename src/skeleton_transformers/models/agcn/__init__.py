"""2s-AGCN: graph convolutions whose graph is learnt, as a whole and for every sequence."""
