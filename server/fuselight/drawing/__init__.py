"""Pictures of a class: its `forward` as a graph of layers and calls, the fusable ones marked."""
