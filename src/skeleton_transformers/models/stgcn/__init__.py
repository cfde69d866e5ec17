"""ST-GCN: convolutions over the graph of the joints and over time."""
