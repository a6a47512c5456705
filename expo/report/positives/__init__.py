"""Reports on measured positives: Table 1, Figures 2 and 3, Example 1, and Property 1 by temperature."""
