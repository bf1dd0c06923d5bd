"""What a person looks at: tables, charts and the page of a run."""
