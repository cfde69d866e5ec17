"""Several recognisers in one model: the fusion of streams."""
