"""README.md and docs/: words from `pages/source`, numbers from what is recorded."""
