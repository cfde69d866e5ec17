"""AS-GCN: graph convolutions over inferred action links and structural links."""
