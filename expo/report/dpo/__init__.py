"""Reports on trainings with DPO: Tables 2 and 4, Figure 6, and what DPO does to its pairs."""
