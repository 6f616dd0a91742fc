"""The report: what a run's result says, in figures, sentences, charts and pages. Everything starts from run.json."""
