"""Reports on measured gradients: their angles, T1 against T2, and what a step along one does to J."""
