"""Reports on trainings on positives: Figures 1, 4, 5 and 7 to 9, Table 3, and tables of many trainings."""
